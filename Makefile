# make demo: from nothing to a trained and evaluated detector.   make test: the test suite.   make lint: style.
# Both install what they need into .venv first (make setup), once.

PYTHON ?= python3
# PyTorch's newest CUDA build where there is an NVIDIA GPU; TORCH="torch==X" overrides.
TORCH ?= $(if $(shell command -v nvidia-smi),torch,torch==2.13.0)

BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: setup demo test lint

setup: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-nodeps.txt setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install "$(TORCH)"
	$(BIN)/pip install -r requirements.txt
	$(BIN)/pip install --no-deps -r requirements-nodeps.txt
	$(BIN)/pip install --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/python tools/demo.py

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
