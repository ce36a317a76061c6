# One command for each thing one does here. `make` lists them.
# Of several commands the first that is a Python: pyenv leaves some that are not.
first = $(firstword $(foreach one,$(1),$(shell $(one) -c '' 2>/dev/null && command -v $(one))))
PYTHON ?= $(or $(call first,python3.11 python3.12 python3.13),\
	$(error there is no Python 3.11, 3.12 or 3.13; make PYTHON=PATH takes the one at PATH))
COLAB_PYTHON ?= $(call first,python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python))
RUN = .venv/bin/python
# The outputs replace those of the notebook only when all of it has run.
EXECUTE = $(RUN) -m jupyter nbconvert --to notebook --execute --inplace \
	--ExecutePreprocessor.timeout=-1 --ExecutePreprocessor.record_timing=False
RESOLVE = .venv/bin/uv pip compile --universal --generate-hashes --upgrade \
	--no-emit-index-url --no-header --no-annotate --quiet

export TF_CPP_MIN_LOG_LEVEL ?= 3
# TensorFlow leaves oneDNN off where a processor has no AVX-512; a step takes two thirds with it.
export TF_ENABLE_ONEDNN_OPTS ?= 1

.PHONY: help demo app test test-all test-page test-scale test-colab lint data train evaluate figures \
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

test-colab: $(if $(COLAB_PYTHON),.venv-colab/ready)  ## the notebooks, each alone, in what Colab has
	$(if $(COLAB_PYTHON),.venv-colab/bin/python -m pytest tests/colab,@echo "skipped: no Python 3.13")

lint: .venv/ready  ## check style, in notebooks too
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

data: .venv/ready  ## draw data/train: 60,000 plates, seconds
	$(EXECUTE) data_generation.ipynb
	$(RUN) -m tools.clean_notebooks data_generation.ipynb

train: .venv/ready  ## fit, export, calibrate and test the reader; goes on where it was stopped
	mkdir -p .cache
	$(RUN) -m papermill training.ipynb .cache/training.ipynb --no-progress-bar --stdout-file -
	mv .cache/training.ipynb training.ipynb
	$(RUN) -m plate_ocr export
	$(EXECUTE) evaluation.ipynb
	$(RUN) -m tools.clean_notebooks training.ipynb evaluation.ipynb
	$(RUN) model_test.py --plot results/predictions.png --json results/test.json

evaluate: .venv/ready  ## calibrate, and measure on data/benchmark
	$(EXECUTE) evaluation.ipynb
	$(RUN) -m tools.clean_notebooks evaluation.ipynb

figures: .venv/ready  ## draw the pictures in results/ anew from the figures in results/
	$(RUN) -m tools.draw_figures

benchmark: .venv/ready  ## ours against others, which it installs into .cache: 10 to 35 minutes
	$(RUN) -m benchmarks.compare

compatibility: .venv/ready  ## the weights on the oldest and newest Keras, which it installs into .cache
	$(RUN) -m benchmarks.compatibility

scale: .venv-scale/ready  ## 60,000 plates on Ray, which loses workers; what more hosts would give
	.venv-scale/bin/python -m benchmarks.scale
	.venv-scale/bin/python -m tools.scale_page

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
	$(RESOLVE) --python-version 3.11 requirements.txt requirements-dev.txt --output-file requirements.lock
	$(RESOLVE) --python-version 3.11 requirements-page.txt --output-file requirements-page.lock
	$(RESOLVE) --python-version 3.11 requirements-scale.txt --output-file requirements-scale.lock
	$(RESOLVE) --python-version 3.13 requirements-colab.txt --output-file requirements-colab.lock

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

# An environment of its own: Colab has its own versions, and neither ONNX Runtime nor OpenVINO.
.venv-colab/ready: override PYTHON = $(COLAB_PYTHON)
.venv-colab/ready: requirements-colab.lock
	$(install)
