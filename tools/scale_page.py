"""Write docs/scale.md: what more hosts give, computed from what results/ holds.

$ python tools/scale_page.py
"""

import csv
import json
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PAGE = PROJECT / "docs" / "scale.md"
HOSTS = (1, 8, 64)
MOST = HOSTS[-1]
READ, TRAINED = 10**9, 10**8  # plates
PLATES_OF_A_FILE = 2_000  # PLATES_PER_TASK of plate_ocr.ray_data, which imports Ray
PIXELS = 64 * 128
UNKNOWN = "not measured yet"
# Assumed, not measured; the page says so.
NETWORK = 125_000_000  # bytes a second, of a host
MESSAGE = 0.0001  # seconds until a message arrives
REQUEST = 0.02  # seconds until an object store answers


def result(name: str) -> dict:
    """What `results/<name>.json` holds; empty where it was not measured yet."""
    path = PROJECT / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def table(*rows: tuple) -> str:
    """A Markdown table with a head; the first column to the left, the others to the right."""
    head, *others = rows
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *others]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def rate(value: float | None) -> str:
    """Plates a second, where they were measured."""
    return f"{value:,.0f}" if value else UNKNOWN


def scaled(work: str, where: str) -> float | None:
    """Plates a second of `drawing` or `reading`: `alone` or on the `cluster`."""
    measured = result("scale")
    return measured["plates"] / measured[work][where] if measured else None


def last_epoch() -> float:
    """Seconds of the last epoch of the run `shipped`; GPUs may have run those before."""
    with (PROJECT / "results" / "training_default.csv").open(encoding="utf-8") as table:
        *_, last = csv.DictReader(table)
    return float(last["seconds"])


def seconds_to_distort() -> float | None:
    """What distorting adds to the seconds of a plate in a training step."""
    variants = result("training_step").get("variants", {})
    plain, distorted = (
        variants.get(f"mixed bfloat16{ending}", {}).get("plates_per_second")
        for ending in ("", ", plates distorted")
    )
    return max(1 / distorted - 1 / plain, 0) if distorted else None


def reducing(hosts: int, size: float) -> float:
    """Seconds in which a ring of hosts adds up their gradients, of so many bytes."""
    messages = 2 * (hosts - 1)  # each of one host's part of the gradients
    return messages * (MESSAGE + size / hosts / NETWORK)


def page() -> str:
    """The page, from what was measured last."""
    benchmark, run = result("benchmark"), result("training_default")
    cores, config = benchmark["machine"]["cores"], run["config"]
    arrays, openvino = (
        max(benchmark["readers"][key]["plates_per_second"].values())
        for key in ("plate_ocr", "openvino")
    )
    drawing = benchmark["generators"]["plate_ocr"]["files_per_second"]
    trained = config["plates"] / last_epoch()
    from_files = scaled("reading", "alone")
    sizes = [path.stat().st_size for path in (PROJECT / "data" / "test").glob("*.png")]
    png = sum(sizes) / len(sizes)
    of_benchmark = f"`benchmark.json`, {benchmark['machine']['processor']}"
    of_scale = f"`scale.json`, {result('scale').get('processor', UNKNOWN)}"
    measured = table(
        ("what", "plates/s", "result"),
        ("reading arrays, on one core", rate(arrays), of_benchmark),
        ("the same with OpenVINO", rate(openvino), of_benchmark),
        ("drawing PNG files, on one core", rate(drawing), of_benchmark),
        (
            "the last epoch of the run `shipped`",
            rate(trained),
            f"`training_default.csv`, {run['device'].split(' and ')[-1]}",
        ),
        ("reading PNG files in memory, on one core", rate(from_files), of_scale),
        *(
            (f"{work} on Ray, two workers, one lost", rate(scaled(work, "cluster")), of_scale)
            for work in ("drawing", "reading")
        ),
    )

    host = (from_files or arrays) * cores  # plates a second
    counted = "PNG files in memory" if from_files else "arrays; to decode files takes no time"
    hours, footers = READ / host / 3600, READ / PLATES_OF_A_FILE * REQUEST / 3600
    rows = []
    for hosts in HOSTS:
        wall = hours / hosts + footers
        told = (hours / hosts, footers, wall)
        rows.append((hosts, *(f"{each:,.1f}" for each in told), f"{hosts * wall:,.0f}"))
    head = ("hosts", "reading, h", "footers, h", "together, h", "machine hours")
    reading = table(head, *rows)

    batch = config["batch_size"]
    parameters = benchmark["networks"]["plate_ocr"]["parameters"]
    step, gradients, distortion = batch / trained, 4 * parameters, seconds_to_distort()
    rows = []
    for hosts in HOSTS:
        steps, waiting = TRAINED / (batch * hosts), reducing(hosts, gradients)
        wall, as_it_is = steps * (step + waiting) / 3600, UNKNOWN
        if distortion is not None:  # of the others' plates too
            as_it_is = f"{wall + steps * (hosts - 1) * batch * distortion / 3600:,.1f}"
        share = waiting / (step + waiting)  # at last of the most hosts
        told = (f"{batch * hosts:,}", f"{1000 * waiting:.1f}", f"{share:.0%}")
        rows.append((hosts, *told, f"{wall:,.1f}", f"{hosts * wall:,.0f}", as_it_is))
    head = ("hosts", "plates a step", "all-reduce, ms", "of a step", "h", "machine hours")
    training = table((*head, "h, as the code is"), *rows)

    return f"""\
# What more hosts give

`python tools/scale_page.py` computes this page from `results/`. Two workers on one machine are the most that any of it has run on: beyond that it is arithmetic, on the assumptions below. Files there may come from different machines and weights: rates of one file compare with each other, not with those of another.

## Measured

{measured}

A plate is a PNG file of {png:,.0f} bytes (the mean of `data/test`) and {PIXELS:,} bytes in memory; the network has {parameters:,} parameters.

## Assumed

- Every host has {cores} cores like those measured. Neither cores nor hosts slow each other down.
- A core reads as it reads {counted}.
- A host sends {NETWORK * 8 / 1e9:,.0f} Gbit/s, and a message takes {1000 * MESSAGE} ms. An object store answers in {1000 * REQUEST:.0f} ms and serves all hosts at once.
- On JAX, on which several hosts train, a step takes as long as on TensorFlow, on which it was measured. It may be slower.

## A billion plates read

{reading}

Reading alone costs {hours:,.0f} machine hours, however many hosts share them. `read-many` reads with ONNX Runtime; OpenVINO reads arrays {openvino / arrays:.1f} times as fast.

1. **One host: the network that reads.** Its input is small: {host * png / 1e6:.1f} MB/s.
2. **The object store is no limit as long as it holds Parquet files.** {MOST} hosts take {MOST * host * png / 1e6:,.0f} MB/s and {MOST * host / PLATES_OF_A_FILE:,.0f} files of {PLATES_OF_A_FILE:,} plates each second. As single PNG files they would be {MOST * host:,.0f} requests a second.
3. **Many hosts: the one process that starts it.** `read_many` opens the footers of all {READ // PLATES_OF_A_FILE:,} files, one after another, before the first plate is read, and the hosts wait. From {hours / footers:,.0f} hosts on that takes longer than reading. Fewer and larger files, or footers read by many threads, would be the remedy.

## A hundred million plates trained on

Every host takes {batch} plates a step, each plate once. Larger batches want another learning rate; what they do to the accuracy was not tried.

{training}

1. **One host: the step itself**, {1000 * step:.0f} ms for {batch} plates, {TRAINED / trained / 3600:,.0f} machine hours in all.
2. **The all-reduce is {share:.0%} of a step, at most**, because the network is small: {gradients / 1e6:.2f} MB of gradients, sent nearly twice around the ring. With {MOST} hosts it takes {1000 * reducing(MOST, gradients):.0f} ms, of which {1000 * reducing(MOST, 0):.0f} are waiting for messages.
3. **The data loader comes first.** Every host distorts the whole batch, that of all hosts, and takes its share of it, so that the run is that of one host. That work grows with the hosts; only the last column counts it. Random numbers of a plate, not of a batch, would let each host distort its own.
4. **Memory.** Every host holds all plates: {TRAINED * PIXELS / 1e9:,.0f} GB. They would have to be drawn as they are needed, {TRAINED / drawing / cores / 3600:,.1f} machine hours of work, or read from Parquet.
"""  # noqa: E501


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
