# `make demo` and `make test` install all they need in .venv; only Python 3.11 or newer is required.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that run the tests; each needs a few GB of memory.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# TensorFlow keeps the memory of every graph: one run of all tests ends with 12 GB in each process.
# So each of these groups of folders has processes of its own, and all else follows in new ones.
COMMAND_TESTS := $(wildcard tests/[a-k]*/)
NETWORK_TESTS := $(wildcard tests/[l-m]*/)
# The packages of `make reference` need TensorFlow 2.15, and that Python 3.11 or older.
REFERENCE_PYTHON ?= python3.11
REFERENCE_VENV ?= .venv-reference

# The other tools that `make peers` compares speed with.
PEERS_VENV ?= .venv-peers

.PHONY: demo test lint format docs reference peers clean

demo: $(VENV)/.installed ## Train on phantom volumes, evaluate, export and synthesize volumes
	$(BIN)/medusis quickstart

test: lint docs ## Run all checks and tests
	status=0; \
	$(PYTEST) $(COMMAND_TESTS) || status=1; \
	$(PYTEST) $(NETWORK_TESTS) || status=1; \
	$(PYTEST) tests $(COMMAND_TESTS:%=--ignore=%) $(NETWORK_TESTS:%=--ignore=%) || status=1; \
	exit $$status

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## The documentation site, in site/; broken links are errors
	rm -rf docs/generated
	$(BIN)/sphinx-build -q -W --keep-going -b html docs site

reference: $(REFERENCE_VENV)/.installed ## Rewrite the reference arrays of tensorflow-addons and tensorflow-gan
	TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS=0 CUDA_VISIBLE_DEVICES= $(REFERENCE_VENV)/bin/python tests/reference/write_reference.py

peers: $(VENV)/.installed $(PEERS_VENV)/.installed ## Compare speed with other tools, in turns
	$(BIN)/python -m benchmarks.peers --peer-python $(PEERS_VENV)/bin/python $(PEERS_OPTIONS)

clean: ## Remove the environments, but no data, runs or models
	rm -rf $(VENV) $(REFERENCE_VENV) $(PEERS_VENV)

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

$(PEERS_VENV)/.installed: benchmarks/peers.txt
	$(PYTHON) -m venv --clear $(PEERS_VENV)
	$(PEERS_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
