# One command for each thing one does here. `make` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python
# The outputs replace those of the notebook only when all of it has run.
EXECUTE = $(RUN) -m jupyter nbconvert --to notebook --execute --inplace \
	--ExecutePreprocessor.timeout=-1 --ExecutePreprocessor.record_timing=False --coalesce-streams
RESOLVE = .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-header --no-annotate --quiet

export TF_CPP_MIN_LOG_LEVEL ?= 3
export PYTHONHASHSEED ?= 0
# TensorFlow leaves oneDNN off where a processor has no AVX-512; a step takes two thirds with it.
export TF_ENABLE_ONEDNN_OPTS ?= 1

.PHONY: help demo app test test-all test-page test-scale lint data train evaluate figures \
	benchmark compatibility scale soak export fonts notebooks lock

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

demo: .venv/ready  ## read the 60 plates of data/test with the trained weights
	$(RUN) model_test.py

app: .venv-page/ready  ## the page, on localhost: read plates and draw them
	.venv-page/bin/python app.py

test: .venv/ready lint  ## the tests, without the slow ones (a few minutes)
	$(RUN) -m pytest --numprocesses 2 --dist loadfile -m "not slow"

test-all: .venv/ready  ## the slow tests
	$(RUN) -m pytest -m slow

test-page: .venv-page/ready  ## the page, in Debian's chromium with its chromium-driver
	.venv-page/bin/python -m pytest tests/page

test-scale: .venv-scale/ready  ## drawing, reading and training on several hosts, on Ray and JAX
	KERAS_BACKEND=jax .venv-scale/bin/python -m pytest tests/scale

lint: .venv/ready  ## check style, in notebooks too
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

data: .venv/ready  ## draw data/train: 60,000 plates, seconds
	$(EXECUTE) data_generation.ipynb
	$(RUN) tools/tidy_notebooks.py data_generation.ipynb

train: .venv/ready  ## fit, export, calibrate and test the reader; goes on where it was stopped
	$(EXECUTE) training.ipynb
	$(RUN) -m plate_ocr export
	$(EXECUTE) evaluation.ipynb
	$(RUN) tools/tidy_notebooks.py training.ipynb evaluation.ipynb
	$(RUN) model_test.py --plot results/predictions.png --json results/test.json

evaluate: .venv/ready  ## calibrate, and measure on data/benchmark
	$(EXECUTE) evaluation.ipynb
	$(RUN) tools/tidy_notebooks.py evaluation.ipynb

figures: .venv/ready  ## draw the pictures in results/ anew from the figures in results/
	$(RUN) tools/draw_figures.py

benchmark: .venv/ready  ## ours against others, which it installs into .cache: 10 to 35 minutes
	$(RUN) -m benchmarks.compare

compatibility: .venv/ready  ## the weights on the oldest and newest Keras, which it installs into .cache
	$(RUN) -m benchmarks.compatibility

scale: .venv-scale/ready  ## 60,000 plates on Ray, which loses workers; what more hosts would give
	.venv-scale/bin/python -m benchmarks.scale
	.venv-scale/bin/python tools/scale_page.py

soak: .venv/ready  ## a million readings in one process
	$(RUN) -m benchmarks.soak

export: .venv/ready  ## dr_model.h5 -> dr_model.onnx, for reading without TensorFlow
	$(RUN) -m plate_ocr export

fonts: .venv/ready  ## fetch the fonts from npm again and choose their instances
	$(RUN) fonts/prepare.py

notebooks: .venv/ready  ## open the notebooks in the browser
	$(RUN) -m jupyter lab

lock: .venv/ready  ## resolve the lock files anew
	$(RUN) -m pip install --quiet uv
	$(RESOLVE) requirements.txt requirements-dev.txt --output-file requirements.lock
	$(RESOLVE) requirements-page.txt --output-file requirements-page.lock
	$(RESOLVE) requirements-scale.txt --output-file requirements-scale.lock

define install
$(PYTHON) -m venv $(@D)
$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
touch $@
endef

.venv/ready: requirements.lock
	$(install)

# An environment of its own: Gradio asks for an older Pillow than the plates were drawn with.
.venv-page/ready: requirements-page.lock
	$(install)

# An environment of its own: one machine needs neither Ray nor JAX.
.venv-scale/ready: requirements-scale.lock
	$(install)
