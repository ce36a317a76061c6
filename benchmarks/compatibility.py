"""The shipped weights on the oldest and the newest Keras that the requirements admit.

`python -m benchmarks.compatibility` makes an environment for each in `.cache`, restores
`dr_model.h5` there and compares the logits of `data/test` with those of ONNX Runtime here. Writes
`results/compatibility.json`; the exit code is 1 where any differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from plate_ocr.cli import run_command
from plate_ocr.plates.dataset import load_folder
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import write_text

PROJECT = Path(__file__).parent.parent
ENVIRONMENTS = PROJECT / ".cache" / "compatibility"
TOLERANCE = 1e-4  # of a logit
# Name -> backend of Keras, and what the environment holds beside Pillow. The oldest are the lower
# bounds of requirements.txt.
MATRIX = {
    "oldest": ("tensorflow", ("tensorflow==2.20.*", "keras==3.13.*")),
    "newest": ("tensorflow", ("tensorflow", "keras")),
    "jax": ("jax", ("jax", "keras")),
}
# Runs in an environment: prints the versions, writes the logits.
RUN = """
import json, sys
from importlib.metadata import version
import numpy as np
from plate_ocr.dataset import load_folder
from plate_ocr.reader import PlateReader

images = load_folder("data/test").images
np.save(sys.argv[1], PlateReader(backend="keras").forward(images).logits)
print(json.dumps({name: version(name) for name in ("keras", sys.argv[2], "numpy")}))
"""


def python_of(name: str) -> Path:
    """The interpreter of an environment."""
    return ENVIRONMENTS / name / "bin" / "python"


def install(name: str, packages: tuple[str, ...]) -> None:
    """Make an environment, unless it is there; remove it to try versions newer than its own."""
    ready = ENVIRONMENTS / name / "ready.json"
    wanted = json.dumps(packages)
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return
    _run([sys.executable, "-m", "venv", "--clear", ENVIRONMENTS / name])
    pip = [python_of(name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *packages, "pillow"])
    write_text(ready, wanted)


def _run(command: list, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit((done.stderr.strip() or f"{command[0]} failed").splitlines()[-1])
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Compare, print, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args(arguments)
    plates = load_folder(PROJECT / "data" / "test")
    reader = PlateReader()
    expected = reader.forward(plates.images).logits
    result = {}
    for name, (backend, packages) in MATRIX.items():
        install(name, packages)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "logits.npy")
            command = [python_of(name), "-c", RUN, path, backend]
            output = _run(command, KERAS_BACKEND=backend, PYTHONPATH=str(PROJECT))
            logits = np.load(path)
        difference = float(np.abs(logits - expected).max())
        versions = json.loads(output.splitlines()[-1])
        result[name] = {"versions": versions, "largest_difference_of_a_logit": difference}
        print(f"{name}: {versions}: {difference:.2g}", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "compatibility.json", json.dumps(result, indent=2) + "\n")
    furthest = max(one["largest_difference_of_a_logit"] for one in result.values())
    return 0 if furthest <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
