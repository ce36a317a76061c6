"""What the package says about itself: what it needs, that it is typed, its version."""

import json
import tomllib

import pytest
from conftest import PROJECT, run_python

import plate_ocr

DESCRIPTION = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Reads by library and command; prints the texts, and what that has imported.
READ = """
import json, sys
from plate_ocr import PlateReader
from plate_ocr.cli import main
print(PlateReader().read(sys.argv[1]).text)
assert main(["read", sys.argv[1]]) == 0
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_reading_imports_nothing_of_training():
    path = min((PROJECT / "data" / "test").glob("*.png"))
    done = run_python("-c", READ, path)
    assert done.returncode == 0, done.stderr
    text, line, imported = done.stdout.splitlines()
    assert text == line.split("\t")[1] == path.stem
    training = {"tensorflow", "keras", "cv2", "sklearn", "matplotlib", "tqdm", "ray", "jax"}
    assert not training & set(json.loads(imported))


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (("read", "data/test", "--backend", "openvino"), "openvino", "openvino"),
        (("train", "data/test", "{folder}/x.h5"), "keras", "train"),
        (("fine-tune", "data/test", "--output", "{folder}/x"), "tf2onnx", "train"),
        (("generate", "{folder}/x", "--start", "0", "--count", "2"), "cv2", "draw"),
        (("draw-many", "{folder}/x", "--count", "5"), "pyarrow", "ray"),
    ],
)
def test_what_needs_more_says_how_to_get_it(arguments, module, extra, tmp_path):
    code = f"import sys; sys.modules[{module!r}] = None; from plate_ocr.cli import main;"
    code += "sys.exit(main(sys.argv[1:]))"
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    done = run_python("-c", code, *arguments)
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and module in line and f"'.[{extra}]'" in line
    assert not list(tmp_path.glob("**/*.*"))


def test_requirements_are_those_of_the_package():
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {line for line in lines if not line.startswith("#")}
    extras = DESCRIPTION["optional-dependencies"]
    wanted = {*DESCRIPTION["dependencies"], *extras["train"], *extras["draw"]}
    others = {line for line in wanted if not line.startswith("tf2onnx")}  # for make export
    assert required | {"plate-ocr[draw]"} == others


def test_the_package_is_typed_and_has_a_version():
    assert (PROJECT / "plate_ocr" / "py.typed").is_file()
    assert plate_ocr.__version__ == DESCRIPTION["version"]
