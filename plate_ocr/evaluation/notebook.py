"""What the notebooks show beside figures: source code of this package, and tables."""

import inspect
from collections.abc import Callable, Iterable, Sequence

from IPython.display import Markdown


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
