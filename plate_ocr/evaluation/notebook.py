"""What the notebooks show beside figures: source code of this package, and tables."""

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from IPython.display import Markdown

if TYPE_CHECKING:
    import keras


def show_source(*functions: Callable | type) -> Markdown:
    """The source code of functions or classes, highlighted, below the name of their module."""
    return Markdown(
        "\n".join(
            f"`{function.__module__}`\n```python\n{inspect.getsource(function)}```"
            for function in functions
        )
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """A table whose columns, but for the first, are aligned to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def layer_table(model: "keras.Model", also: Collection[str] = ()) -> Markdown:
    """Layers with weights that are trained, and those that `also` names: output, parameters."""
    rows = [
        [
            f"`{layer.name}`",
            type(layer).__name__,
            " x ".join(map(str, layer.output.shape[1:])),
            f"{layer.count_params():,}" if layer.trainable_weights else "",
        ]
        for layer in model.layers
        if layer.trainable_weights or layer.name in also
    ]
    return markdown_table(["layer", "type", "output", "parameters"], rows)
