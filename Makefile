# make demo: from nothing to a trained and evaluated detector.   make test: the test suite.   make lint: style.
# make docs: the site, in site/. All install what they need into .venv first (make setup), once.

PYTHON ?= python3
# PyTorch's newest CUDA build where there is an NVIDIA GPU; TORCH="torch==X" overrides.
TORCH ?= $(if $(shell command -v nvidia-smi),torch,torch==2.13.0)

BIN := .venv/bin
INSTALLED := .venv/installed

# Two files of tests at a time, one on each of two cores; `TOGETHER=` runs them one after another.
TOGETHER ?= -n 2 --dist loadfile

# The tests that compute with networks, kernels or metrics, and the arithmetic of a processor without AVX.
NUMERICAL := tests/test_models tests/test_evaluation tests/test_datasets tests/test_events tests/test_ops tests/test_apis
# What torch.compile has kept was made for the processor as it is, so that needs a place of its own.
OLD_PROCESSOR := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 TORCHINDUCTOR_CACHE_DIR=$(CURDIR)/.venv/compiled_old

.PHONY: setup demo docs test test-old-processor test-cuda-build lint check-wheel check-runtime

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

docs: setup
	$(BIN)/pip install --quiet -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 PYTHONWARNINGS=ignore $(BIN)/mkdocs build --strict --quiet

test: setup
	$(BIN)/python -m pytest $(TOGETHER)

test-old-processor: setup
	$(OLD_PROCESSOR) $(BIN)/python -m pytest $(TOGETHER) $(NUMERICAL)

# PyTorch's CUDA build in an environment of its own, 6 GB in .venv_cuda; it needs no GPU. `===` leaves out CPU builds.
CUDA_BIN := .venv_cuda/bin
CUDA_TORCH ?= torch===2.13.0

test-cuda-build:
	test -x $(CUDA_BIN)/python || $(PYTHON) -m venv .venv_cuda
	$(CUDA_BIN)/pip install --quiet "$(CUDA_TORCH)"
	$(CUDA_BIN)/pip install --quiet -r requirements.txt
	$(CUDA_BIN)/pip install --quiet --no-deps -r requirements-nodeps.txt
	CUDA_VISIBLE_DEVICES= $(CUDA_BIN)/python -m tests.proofs.cuda_build

# The wheel in a clean environment outside the repository: it trains the demo's config and runs a checkpoint.
check-runtime: setup
	tests/check_runtime.sh

check-wheel:
	TORCH="$(TORCH)" PYTHON="$(PYTHON)" bash tests/check_wheel.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
