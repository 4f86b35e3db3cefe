# Two commands on a fresh machine: `make book` and `make test`. Everything else is `.venv/bin/python -m ctlib.book --help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help book test test-triton lint lab bench clean

help:          ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/'

$(STAMP): requirements.txt pyproject.toml
	@echo "Setting up $(VENV): the locked packages, about two minutes and 2.5 GB"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

book: $(STAMP) ## set up, run every chapter, render; prints where to open it
	$(BIN)/python -m ctlib.book build

test: $(STAMP) ## lint, unit tests, and every chapter re-executed against its reference
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m ctlib.book test

test-triton: $(STAMP) ## the GPU engine's tests: on a CUDA device, else in Triton's interpreter (about a minute)
	@$(BIN)/python -c 'import triton' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check triton==3.9.0
	TRITON_INTERPRET=$$($(BIN)/python -c 'import torch; print(int(not torch.cuda.is_available()))') \
	$(BIN)/python -m pytest -q tests/backends/test_triton.py tests/backends/test_triton_compile.py

lab: $(STAMP)  ## open the chapters as notebooks in JupyterLab
	$(BIN)/python -m ctlib.book lab

bench: $(STAMP) ## time the operators against other libraries, about 15 minutes; OUT=FILE names the JSON
	$(BIN)/python tests/bench --out $(or $(OUT),_build/bench.json)

clean:         ## remove built pages and stored runs (not the environment)
	rm -rf _build
