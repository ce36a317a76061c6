# `make` lists the commands.
# The first of several commands that is a Python: pyenv leaves some that are not.
first = $(firstword $(foreach python,$(1),$(shell $(python) -c '' 2>/dev/null && command -v $(python))))
PYTHON ?= $(or $(call first,python3.11 python3.12 python3.13),\
	$(error there is no Python 3.11, 3.12 or 3.13; make PYTHON=PATH takes the one at PATH))
COLAB_PYTHON ?= $(call first,python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python))
RUN = .venv/bin/python
# The new outputs replace the old ones only after the whole notebook has run.
EXECUTE = $(RUN) -m jupyter nbconvert --to notebook --execute --inplace \
	--ExecutePreprocessor.timeout=-1 --ExecutePreprocessor.record_timing=False
RESOLVE = .venv/bin/uv pip compile --universal --generate-hashes --upgrade \
	--no-emit-index-url --no-header --no-annotate --quiet

export TF_CPP_MIN_LOG_LEVEL ?= 3
# TensorFlow turns oneDNN off without AVX-512, although training steps take a third less time with it.
export TF_ENABLE_ONEDNN_OPTS ?= 1

.PHONY: help demo app test test-all test-page test-scale test-colab lint data train evaluate fine-tune \
	figures benchmark ablations compatibility soak scale export fonts notebooks lock

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

demo: .venv/ready  ## read the 60 plates of data/test with the trained weights
	$(RUN) model_test.py

app: .venv-page/ready  ## start the demo app on localhost
	.venv-page/bin/python app.py

test: .venv/ready lint  ## check style and run the fast tests (minutes)
	$(RUN) -m pytest --numprocesses 2 --dist loadfile -m "not slow"

test-all: .venv/ready  ## run the slow tests
	$(RUN) -m pytest --numprocesses 2 --maxschedchunk 1 -m slow

test-page: .venv-page/ready  ## test the demo app in a browser (needs chromium and chromium-driver)
	.venv-page/bin/python -m pytest tests/page

test-scale: .venv-scale/ready  ## test drawing, reading and training on several hosts (Ray, JAX)
	KERAS_BACKEND=jax .venv-scale/bin/python -m pytest tests/scale

test-colab: $(if $(COLAB_PYTHON),.venv-colab/ready)  ## run the notebooks with the versions of Colab
	$(if $(COLAB_PYTHON),.venv-colab/bin/python -m pytest tests/colab,@echo "skipped: no Python 3.13")

lint: .venv/ready  ## check the style of code and notebooks
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

data: .venv/ready  ## draw 60,000 plates into data/train (half a minute)
	$(EXECUTE) data_generation.ipynb
	$(RUN) -m tools.clean_notebooks data_generation.ipynb

train: .venv/ready  ## train, export and evaluate (4 to 5 hours on two cores); resumes
	mkdir -p .cache
	$(RUN) -m papermill training.ipynb .cache/training.ipynb --no-progress-bar --stdout-file -
	mv .cache/training.ipynb training.ipynb
	$(RUN) -m plate_ocr export
	$(EXECUTE) evaluation.ipynb
	$(RUN) -m tools.clean_notebooks training.ipynb evaluation.ipynb
	$(RUN) model_test.py --plot results/predictions.png --json results/test.json

evaluate: .venv/ready  ## measure on the benchmark sets (2 minutes)
	$(EXECUTE) evaluation.ipynb
	$(RUN) -m tools.clean_notebooks evaluation.ipynb

fine-tune: .venv/ready  ## fine-tune the weights on drawn displays (10 minutes on two cores)
	$(EXECUTE) fine_tuning.ipynb
	$(RUN) -m tools.clean_notebooks fine_tuning.ipynb

figures: .venv/ready  ## regenerate tables and figures from results/
	$(RUN) -m tools.figures

benchmark: .venv/ready  ## compare with other OCR engines, also on labeled images: REAL="FOLDER ..."
	$(RUN) -m benchmarks.compare $(REAL)

ablations: .venv/ready  ## train without each part, and other networks (two hours): REAL="FOLDER ..."; resumes
	$(RUN) -m benchmarks.ablations $(REAL)

compatibility: .venv/ready  ## test the weights with the oldest and newest Keras, and JAX
	$(RUN) -m benchmarks.compatibility

soak: .venv/ready  ## read a million plates in one process: memory and speed (8 minutes)
	$(RUN) -m benchmarks.soak

scale: .venv-scale/ready  ## draw and read plates on Ray, on this machine: speed (4 minutes)
	.venv-scale/bin/python -m benchmarks.scale

export: .venv/ready  ## export dr_model.h5 to dr_model.onnx
	$(RUN) -m plate_ocr export

fonts: .venv/ready  ## download the training fonts again and choose their instances
	$(RUN) -m fonts.prepare

notebooks: .venv/ready  ## open the notebooks in JupyterLab
	$(RUN) -m jupyter lab

lock: .venv/ready  ## resolve the lock files again
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

# Separate environment: Gradio needs an older Pillow than the plates were drawn with.
.venv-page/ready: requirements-page.lock
	$(install)

# Separate environment: one machine needs neither Ray nor JAX.
.venv-scale/ready: requirements-scale.lock
	$(install)

# Separate environment: Colab's versions, without ONNX Runtime and OpenVINO.
.venv-colab/ready: override PYTHON = $(COLAB_PYTHON)
.venv-colab/ready: requirements-colab.lock
	$(install)
