"""Make executed notebooks fit to commit: pictures in fewer bytes, no times, no noise.

$ python tools/clean_notebooks.py training.ipynb evaluation.ipynb
"""

import base64
import sys
from io import BytesIO
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image
from zopfli.png import optimize

from plate_ocr.cli import run_command
from plate_ocr.utils import write_text

KEPT_METADATA = {"tags"}  # of a cell


def tidy(path: Path) -> None:
    """Rewrite one notebook in place."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata = {
            key: value for key, value in cell.metadata.items() if key in KEPT_METADATA and value
        }
        if "outputs" in cell:
            cell.outputs = without_noise(cell.outputs)
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            if "image/png" in output.get("data", {}):
                png = shrink_png(base64.b64decode(output["data"]["image/png"]))
                output["data"]["image/png"] = base64.b64encode(png).decode()
    write_text(path, nbformat.writes(notebook) + "\n")


def shrink_png(png: bytes) -> bytes:
    """The same picture in at most 256 colours and fewer bytes."""
    buffer = BytesIO()
    picture = Image.open(BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG")
    return optimize(buffer.getvalue())


def without_noise(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs of a cell, with what it printed in one piece, as it stood in the end.

    Standard error, where progress and the log lines of libraries go, is reported here and left out.
    """
    kept: list[NotebookNode] = []
    left_out = ""
    for output in outputs:
        if output.get("name") == "stderr":
            left_out += output.text
        elif output.get("name") == "stdout" and kept and kept[-1].get("name") == "stdout":
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = _as_it_stood(output.text)
    if left_out:
        print("left out:", _as_it_stood(left_out).rstrip(), file=sys.stderr)
    return kept


def _as_it_stood(text: str) -> str:
    """Without what a carriage return let be written over."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def main() -> None:
    """Rewrite the notebooks that the command line names."""
    for name in sys.argv[1:]:
        tidy(Path(name))
        print(f"{name}: {Path(name).stat().st_size // 1024} KB")


if __name__ == "__main__":
    sys.exit(run_command(main, nbformat.reader.NotJSONError))
