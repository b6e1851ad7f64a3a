# `make demo` and `make test` do all the set-up; they need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Python 3.11 and TensorFlow 2.15: the last in which the packages of `make reference` import.
REFERENCE_PYTHON ?= python3.11
REFERENCE_VENV ?= .venv-reference

.PHONY: demo test lint format docs reference clean

demo: $(VENV)/.installed ## Phantom volumes, training, evaluation, export, one synthesized volume
	$(BIN)/python -m pipelines.quickstart

test: lint ## The whole suite
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## The documentation site, in site/; broken links are errors
	$(BIN)/sphinx-build -q -W --keep-going -b html docs site

reference: $(REFERENCE_VENV)/.installed ## Rewrite the arrays of tensorflow-addons and tensorflow-gan that tests compare with
	TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS=0 CUDA_VISIBLE_DEVICES= $(REFERENCE_VENV)/bin/python tests/reference/write_reference.py

clean: ## Remove the environments; data, runs and models stay
	rm -rf $(VENV) $(REFERENCE_VENV)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("medusis_tf needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(REFERENCE_VENV)/.installed: tests/reference/requirements.txt
	$(REFERENCE_PYTHON) -m venv --clear $(REFERENCE_VENV)
	$(REFERENCE_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
