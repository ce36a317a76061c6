"""What the notebooks show beside figures: source code of this package, and tables."""

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from IPython.display import Markdown

if TYPE_CHECKING:
    import keras

NUMBER = re.compile(r"\**[-+±]? ?\d")  # at the start of a cell


def show_source(*functions: Callable | type) -> Markdown:
    """The source code of functions or classes, highlighted, below the name of their module."""
    return Markdown(
        "\n".join(
            f"`{function.__module__}`\n```python\n{inspect.getsource(function)}```"
            for function in functions
        )
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """A table; columns of numbers are aligned to the right, all others and the first to the left.

    Args:
        head: titles of the columns.
        rows: cells, as many in every row as in the head.
    """
    rows = list(rows)
    _, *columns = zip(head, *rows, strict=True)
    marks = ["---", *("--:" if _is_numeric(column[1:]) else "---" for column in columns)]
    lines = [head, marks, *rows]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _is_numeric(column: Sequence[str]) -> bool:
    """Whether most cells start with a number, perhaps bold or signed; empty ones do not count."""
    cells = [cell for cell in column if cell not in ("", "-")]
    return 2 * sum(map(bool, map(NUMBER.match, cells))) > len(cells)


def layer_table(model: "keras.Model", also: Collection[str] = ()) -> Markdown:
    """The layers that are trained: type, shape of the output without the batch, trained parameters.

    Args:
        model: a functional model.
        also: names of other layers to list.

    Returns:
        A table with one row per layer, and the total.
    """
    rows, total = [], 0
    for layer in model.layers:
        count = sum(math.prod(weight.shape) for weight in layer.trainable_weights)
        total += count
        if count or layer.name in also:
            shape = " x ".join(map(str, layer.output.shape[1:]))
            number = f"{count:,}" if count else ""
            rows.append([f"`{layer.name}`", type(layer).__name__, shape, number])
    rows.append(["**total**", "", "", f"**{total:,}**"])
    return markdown_table(["layer", "type", "output", "trained parameters"], rows)
