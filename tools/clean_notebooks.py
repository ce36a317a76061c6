"""Clean executed notebooks before a commit: no times, no log lines, smaller pictures.

$ python -m tools.clean_notebooks training.ipynb evaluation.ipynb
"""

import base64
import sys
from io import BytesIO
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearMetadataPreprocessor, CoalesceStreamsPreprocessor
from PIL import Image
from zopfli.png import optimize

from plate_ocr.cli import run_command
from plate_ocr.utils import write_text

PREPROCESSORS = (
    ClearMetadataPreprocessor(preserve_cell_metadata_mask={"tags"}, clear_notebook_metadata=False),
    CoalesceStreamsPreprocessor(),
)


def clean(path: Path) -> None:
    """Rewrite one notebook in place; what its cells wrote on standard error is printed instead."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)  # of Markdown too, which the preprocessor leaves alone
        for output in list(cell.get("outputs", [])):
            output.get("metadata", {}).clear()
            if output.get("name") == "stderr":
                print(f"{path}: dropped: {output.text.strip()}", file=sys.stderr)
                cell.outputs.remove(output)
            elif "image/png" in output.get("data", {}):
                output.data["image/png"] = shrink_png(output.data["image/png"])
    for preprocessor in PREPROCESSORS:
        notebook, _ = preprocessor.preprocess(notebook, {})
    write_text(path, nbformat.writes(notebook) + "\n")


def shrink_png(encoded: str) -> str:
    """The same picture, base64, in at most 24 colors and fewer bytes."""
    picture = Image.open(BytesIO(base64.b64decode(encoded))).convert("RGB")
    # By default, gray levels would crowd out the few pixels of a color.
    method = Image.Quantize.MAXCOVERAGE
    picture.quantize(24, method, dither=Image.Dither.NONE).save(buffer := BytesIO(), "PNG")
    return base64.b64encode(optimize(buffer.getvalue())).decode()


def main() -> None:
    """Clean the notebooks that the command line names."""
    for name in sys.argv[1:]:
        clean(Path(name))
        print(f"{name}: {Path(name).stat().st_size // 1024} KB")


if __name__ == "__main__":
    sys.exit(run_command(main, nbformat.reader.NotJSONError))
