"""The shipped weights on the oldest and the newest Keras that the requirements allow.

`python -m benchmarks.compatibility` makes an environment for each in `.cache`, restores
`dr_model.h5` there by `keras.models.load_model` and compares the logits of `data/test` with those
of ONNX Runtime here. Writes `results/compatibility.json`; the exit code is 1 if any differs.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.environments import CACHE, PROJECT, EnvironmentFailed, install, run
from benchmarks.results import check_result, write_result
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.plates.dataset import load_folder
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.export import TOLERANCE

# Name -> backend of Keras, and packages. The oldest are the lower bounds of requirements.txt.
# To try newer versions than an environment has, remove it.
MATRIX = {
    "oldest": ("tensorflow", ("tensorflow==2.20.*", "keras==3.13.*")),
    "newest": ("tensorflow", ("tensorflow", "keras")),
    "jax": ("jax", ("jax", "keras")),
}
# Runs in an environment: prints the versions, writes the logits.
SCRIPT = """
import json, sys
from importlib.metadata import version
import keras
import numpy as np
from plate_ocr.plates.dataset import load_folder

model = keras.models.load_model("dr_model.h5", compile=False)
np.save(sys.argv[1], model.predict(load_folder("data/test").images, verbose=0))
print(json.dumps({name: version(name) for name in ("keras", sys.argv[2], "numpy")}))
"""


def main() -> int:
    """Compare, print, write the result."""
    check_result("compatibility")
    expected = PlateReader().forward(load_folder(PROJECT / "data" / "test").images).logits
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (backend, packages) in MATRIX.items():
            python = install(CACHE / "compatibility" / name, [*packages, "pillow"])
            path = Path(folder, f"{name}.npy")
            environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(PROJECT)}
            output = run([python, "-c", SCRIPT, path, backend], cwd=PROJECT, env=environment)
            versions = json.loads(output.splitlines()[-1])
            difference = float(np.abs(np.load(path) - expected).max())
            result[name] = {"versions": versions, "largest_difference_of_a_logit": difference}
            print(f"{name}: {versions}: {difference:.2g}", flush=True)
    write_result("compatibility", {"environments": result})
    return int(any(entry["largest_difference_of_a_logit"] > TOLERANCE for entry in result.values()))


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS, EnvironmentFailed))
