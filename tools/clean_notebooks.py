"""Clean executed notebooks before a commit: no times, no log lines, smaller pictures.

$ python -m tools.clean_notebooks training.ipynb evaluation.ipynb
"""

import base64
import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearMetadataPreprocessor, CoalesceStreamsPreprocessor
from zopfli.png import optimize

from plate_ocr.cli import run_command
from plate_ocr.utils import write_text

METADATA = {"preserve_cell_metadata_mask": {"tags"}, "clear_notebook_metadata": False}


def clean(path: Path) -> None:
    """Rewrite one notebook in place; what its cells wrote on standard error is printed instead."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    logged = ""
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        logged += "".join(output.text for output in outputs if output.get("name") == "stderr")
        if "outputs" in cell:
            cell.outputs = [output for output in outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            if "image/png" in output.get("data", {}):
                png = optimize(base64.b64decode(output.data["image/png"]))
                output.data["image/png"] = base64.b64encode(png).decode()
    for preprocessor in (ClearMetadataPreprocessor(**METADATA), CoalesceStreamsPreprocessor()):
        notebook, _ = preprocessor.preprocess(notebook, {})
    write_text(path, nbformat.writes(notebook) + "\n")
    if logged:
        print(f"{path}: dropped from standard error: {logged.strip()}", file=sys.stderr)


def main() -> None:
    """Clean the notebooks that the command line names."""
    for name in sys.argv[1:]:
        clean(Path(name))
        print(f"{name}: {Path(name).stat().st_size // 1024} KB")


if __name__ == "__main__":
    sys.exit(run_command(main, nbformat.reader.NotJSONError))
