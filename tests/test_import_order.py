"""Data flows one way through the rooms of the package, and so do imports."""

import ast
from pathlib import Path

import pytest

import plate_ocr

PACKAGE = Path(plate_ocr.__file__).parent
# From the bottom to the top: a module imports from its own room and from those before it.
ORDER = ["utils", "plates", "network", "reading", "training", "evaluation", "ray_data", "cli"]


def rooms_imported(path):
    """The rooms that a module imports from, of those in the order."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("plate_ocr"):
            names = [f"{node.module}.{name.name}" for name in node.names]
            yield from {name.split(".")[1] for name in names} & set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_no_import_runs_back_up_the_order_of_the_rooms(room):
    paths = [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py")]
    assert paths
    for path in paths:
        for imported in rooms_imported(path):
            assert ORDER.index(imported) <= ORDER.index(room), f"{path}: {imported}"


def test_every_room_has_its_place_in_the_order():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(ORDER)
