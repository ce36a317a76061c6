"""Data flows one way through the subpackages, and so do imports."""

import ast
from pathlib import Path

import pytest

import plate_ocr

PACKAGE = Path(plate_ocr.__file__).parent
# From the bottom to the top: a module imports from its own subpackage and from those before it.
ORDER = ["utils", "plates", "network", "reading", "training", "evaluation", "ray_data", "cli"]


def rooms_imported(path):
    """The subpackages that a module imports from, of those in the order."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("plate_ocr"):
            names = [f"{node.module}.{name.name}" for name in node.names]
            yield from {name.split(".")[1] for name in names} & set(ORDER)


@pytest.mark.parametrize("subpackage", ORDER)
def test_no_import_runs_back_up_the_order(subpackage):
    paths = [*PACKAGE.glob(f"{subpackage}.py"), *PACKAGE.glob(f"{subpackage}/**/*.py")]
    assert paths
    for path in paths:
        for imported in rooms_imported(path):
            assert ORDER.index(imported) <= ORDER.index(subpackage), f"{path}: {imported}"


def test_every_subpackage_has_its_place_in_the_order():
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found <= set(ORDER)
