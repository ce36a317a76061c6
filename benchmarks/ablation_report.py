"""Tables and the figure of what `benchmarks.ablations` measured.

Differences from the base are in percentage points of exact match. The noise is twice the standard
error of a difference. The deviation between seeds is pooled over all sets and all variants with two
of them: on the scale of logits it is similar for easy and hard sets.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmarks.report import grid, titles
from plate_ocr.evaluation.plots import BLUE, GRAY, LIGHT_GRAY

BASE, GREEDY = "base", "greedy_decoding"
CLOSE = 1.0  # percentage points to the base, mean of all sets: another seed is needed
# Sets whose mean a panel of the figure and a column of the short tables show; another has the
# folders of real images.
GROUPS = {
    "other fonts, layouts": ("held_out_fonts", "layout", "cross_generator"),
    "corruptions": ("corruptions_1_to_3", "corruptions_4_to_5"),
    "seven-segment displays": ("segments",),
}
LINEAR = 3  # percentage points, beyond which the scale is logarithmic
TICKS = (-30, -LINEAR, 0, LINEAR)

Samples = dict[str, np.ndarray]  # variant -> exact match in %, (seeds, columns)


def exact_match(results: dict, *groups: Sequence[str]) -> Samples:
    """Exact match of every variant and seed, mean of every group of sets.

    Greedy decoding reads the same logits of the base; all else is decoded with a fixed length.
    """

    def rates(name: str, metric: str) -> np.ndarray:
        runs = results["runs"][name]["seeds"].values()
        means = [[np.mean([run["sets"][key][metric] for key in group]) for group in groups]
                 for run in runs]  # fmt: skip
        return 100 * np.array(means)

    measured = [name for name, run in results["runs"].items() if run["seeds"]]
    samples = {name: rates(name, "exact_match") for name in measured}
    return samples | {GREEDY: rates(BASE, "exact_match_greedy")}


def differences(samples: Samples) -> Samples:
    """Mean of every variant minus that of the base, (columns,)."""
    base = samples[BASE].mean(axis=0)
    return {name: rates.mean(axis=0) - base for name, rates in samples.items()}


def noise(results: dict, *groups: Sequence[str], seeds: int = 2) -> np.ndarray:
    """Twice the standard error of a difference of so many seeds from the base, (groups,).

    The base at least has two seeds. Sets are assumed to be independent.
    """
    sets = list(results["settings"]["images"])
    samples = exact_match(results, *([name] for name in sets))
    del samples[GREEDY]  # the same runs as the base
    squares, freedom = 0.0, 0
    for rates in samples.values():
        fractions = (rates / 100).clip(0.001, 0.999)
        logits = np.log(fractions / (1 - fractions))
        squares += ((logits - logits.mean(axis=0)) ** 2).sum()
        freedom += (len(rates) - 1) * len(sets)
    base = samples[BASE].mean(axis=0) / 100
    points = 100 * np.sqrt(squares / freedom) * base * (1 - base)  # the slope of a logit's inverse
    deviation = dict(zip(sets, points, strict=True))
    means = [np.linalg.norm([deviation[name] for name in group]) / len(group) for group in groups]
    return 2 * np.sqrt(1 / seeds + 1 / len(samples[BASE])) * np.array(means)


def is_close_to_base(results: dict, name: str) -> bool:
    """Whether a variant needs another seed to tell it from the base; the base does."""
    samples = exact_match(results, list(results["settings"]["images"]))
    return bool(abs(differences(samples)[name][0]) < CLOSE)


def title_of(results: dict, name: str) -> str:
    """What a row of tables and figure is called."""
    if name == GREEDY:
        return "greedy decoding"
    return results["runs"][name]["variant"]["title"]


def is_network(results: dict, name: str) -> bool:
    """Whether a variant is a recognition network of another size."""
    variant = results["runs"][name]["variant"] if name != GREEDY else {"network": {}}
    return bool(variant["network"]) and "view" not in variant["network"]


def rows_of(results: dict, samples: Samples, networks: bool) -> list[str]:
    """The variants of one of the two tables, without the base."""
    others = [GREEDY, *(name for name in samples if name not in (BASE, GREEDY))]
    return [name for name in others if is_network(results, name) == networks]


def cells(samples: Samples, name: str, limits: np.ndarray) -> list[str]:
    """Differences of a variant from the base, bold beyond the limits; rates of the base."""
    if name == BASE:
        return [f"{rate:.1f}%" for rate in samples[BASE].mean(axis=0)]
    changes = differences(samples)[name].round(1) + 0.0  # no -0.0
    return [f"**{change:+.1f}**" if abs(change) > limit else f"{change:+.1f}"
            for change, limit in zip(changes, limits, strict=True)]  # fmt: skip


def groups_of(results: dict) -> dict[str, Sequence[str]]:
    """Title -> sets, whose mean a panel of the figure shows."""
    folders = [name for name in results["settings"]["images"] if "/" in name]
    return GROUPS | ({"real images": folders} if folders else {})


def short_table(results: dict, networks: bool = False) -> str:
    """The mean of all sets and of every group."""
    return _table(results, groups_of(results), networks)


def full_table(results: dict, networks: bool = False) -> str:
    """The mean of all sets, and every set."""
    sets = titles(results["settings"]["images"])
    return _table(results, {title: [name] for name, title in sets.items()}, networks)


def _table(results: dict, columns: Mapping[str, Sequence[str]], networks: bool) -> str:
    """The table of ablations, or that of networks with their sizes."""
    columns = {"mean of all sets": list(results["settings"]["images"])} | columns
    samples = exact_match(results, *columns.values())
    rows: dict[str, dict[str, str]] = {}
    for name in (BASE, *rows_of(results, samples, networks)):
        row = rows[title_of(results, name)] = {}
        if networks:
            size = results["runs"][name]
            row["parameters"] = f"{size['parameters']:,}"
            row["million multiply-adds"] = f"{size['macs'] / 1e6:.1f}"
        row["seeds"] = str(len(samples[name]))
        limits = noise(results, *columns.values(), seeds=len(samples[name]))
        row |= zip(columns, cells(samples, name, limits), strict=True)
    for seeds, count in ((1, "one seed"), (2, "two seeds")):
        limits = (f"± {limit:.1f}" for limit in noise(results, *columns.values(), seeds=seeds))
        rows[f"noise, {count}"] = dict(zip(columns, limits, strict=True))
    return grid("difference, points", rows)


def caption(results: dict) -> str:
    """How many runs, of how many steps, where and when."""
    runs = [run for variant in results["runs"].values() for run in variant["seeds"].values()]
    part_1, steps = results["settings"]["steps"]
    return (
        f"{len(runs)} runs of {steps:,} steps, the first {part_1:,} of them Part I, of "
        f"{results['settings']['batch_size']} plates; {sum(run['minutes'] for run in runs):.0f} "
        f"minutes on {results['origin']['machine']}, {results['origin']['date']}."
    )


def markdown(results: dict) -> str:
    """The report of every set."""
    parts = (
        "# Ablations\n",
        "Differences from the base in percentage points of exact match; bold where they exceed "
        "the noise, twice the standard error of a difference from the base, for the number of "
        "seeds of the row. [docs/experiments.md](../docs/experiments.md#ablations) describes the "
        "runs, and how rough the noise is.\n",
        full_table(results),
        "## Networks\n",
        full_table(results, networks=True),
        f"{caption(results)}\n",
    )
    return "\n".join(parts)


def chart(results: dict) -> Figure:
    """Differences from the base: mean of a group of sets in every panel, and that of each seed."""
    panels = groups_of(results)
    samples = exact_match(results, *panels.values())
    limits = noise(results, *panels.values(), seeds=1)
    rows = [name for part in (False, True) for name in rows_of(results, samples, part)]
    size = (6.4, 0.2 * len(rows) + 1.1)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for column, (axis, title) in enumerate(zip(axes[0], panels, strict=True)):
        axis.axvspan(-limits[column], limits[column], color=LIGHT_GRAY, alpha=0.6, linewidth=0)
        axis.axvline(0, color=GRAY, linewidth=0.8)
        for row, name in enumerate(rows):
            seeds = samples[name][:, column] - samples[BASE][:, column].mean()
            if len(seeds) > 1:
                axis.plot(seeds, [row] * len(seeds), "|", color=GRAY, markersize=7)
            axis.plot(seeds.mean(), row, "o", color=BLUE, markersize=5)
        axis.set_xscale("symlog", linthresh=LINEAR)
        axis.set_xticks(TICKS, [f"{tick:+d}" if tick else "0" for tick in TICKS])
        axis.minorticks_off()
        axis.set_title(fill(title, width=14), fontsize=9)
        axis.set_xlim(-200, 30)
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(rows)), [title_of(results, name) for name in rows])
    axes[0, 0].set_ylim(len(rows) - 0.4, -0.6)
    label = (
        "difference from the base, percentage points of exact match\n"
        "dot: mean of the seeds; ticks: each seed, where there are two; band: noise of one seed"
    )
    figure.supxlabel(label, fontsize=9)
    return figure
