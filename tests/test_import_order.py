"""Data flows one way through the rooms of the package, and so do imports."""

import ast
from pathlib import Path

import pytest

import plate_ocr

PACKAGE = Path(plate_ocr.__file__).parent
# From the bottom to the top: a module imports from its own room and from those before it.
ORDER = ["utils", "plates", "network", "reading", "training", "evaluation", "ray_data", "cli"]


def room_of(module):
    """The room that a dotted name such as `plate_ocr.plates.fonts` lies in."""
    return module.split(".")[1] if "." in module else "cli"  # what `import plate_ocr` offers


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("plate_ocr."):
            yield node.module
        elif isinstance(node, ast.ImportFrom) and node.module == "plate_ocr":
            yield from (f"plate_ocr.{name.name}" for name in node.names)


@pytest.mark.parametrize("room", ORDER)
def test_no_import_runs_back_up_the_order_of_the_rooms(room):
    paths = [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py")]
    assert paths
    for path in paths:
        for module in imports_of(path):
            if room_of(module) in ORDER:
                assert ORDER.index(room_of(module)) <= ORDER.index(room), f"{path}: {module}"


def test_every_room_has_its_place_in_the_order():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(ORDER)
