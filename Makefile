# Two commands on a fresh machine: `make book` and `make test`. Everything else is `.venv/bin/python -m ctlib.book --help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RTK := .venv-rtk
MUTATE := .venv-mutate
INTERPRETER := _build/triton
TRITON_TESTS := $(BIN)/python -m pytest -q tests/backends/test_triton*.py tests/decompose/test_triton*.py

.PHONY: help book test test-long test-triton test-rtk mutate platforms lab bench gpu gpu-pack clean clean-gpu

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

test: $(STAMP) ## lint, unit tests, and every chapter against its reference (runs that `make book` stored, or else fresh ones)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m ctlib.book lint
	$(BIN)/python -m ctlib.book test

test-long: $(STAMP) ## the other tests: all pages' cells twice, whole commands (`make gpu`, sweeps, the benchmark), other processors
	$(BIN)/python -m ctlib.book test --long

test-triton: $(STAMP) ## the GPU engine's tests: on a CUDA device, else in Triton's interpreter (some minutes)
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then $(TRITON_TESTS); else \
	$(MAKE) --no-print-directory $(INTERPRETER)/.installed && PYTHONPATH=$(INTERPRETER) TRITON_INTERPRET=1 $(TRITON_TESTS); fi

# beside the environment, not in it: a CUDA build of torch brings the Triton it was made for, and keeps it
$(INTERPRETER)/.installed: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(INTERPRETER) triton==3.9.0
	@touch $@

test-rtk: $(RTK)/.installed ## counts and decomposition against RTK, in an environment of its own (half a minute)
	OMP_NUM_THREADS=1 $(RTK)/bin/python -m pytest -q tests/decompose/test_rtk.py

$(RTK)/.installed: requirements.txt pyproject.toml
	@echo "Setting up $(RTK): RTK with ITK, torch and pytest, about a minute and 2.7 GB"
	@$(PYTHON) -m venv $(RTK)
	@$(RTK)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[rtk]' pytest xraylib
	@touch $@

mutate: $(MUTATE)/.installed ## plant small faults in FILE=... and count those its tests find; SAMPLE=10 SEED=0 TESTS=...
	$(MUTATE)/bin/python tools/mutate.py $(FILE) $(TESTS) --sample $(or $(SAMPLE),10) --seed $(or $(SEED),0) --python $(abspath $(BIN)/python)

$(MUTATE)/.installed: $(STAMP)
	@$(PYTHON) -m venv $(MUTATE)
	@$(MUTATE)/bin/python -m pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0
	@touch $@

platforms: $(STAMP) ## resolve the lock for Linux, macOS and Windows from the registry's wheels; needs the network
	$(BIN)/python tools/check_platforms.py

lab: $(STAMP)  ## open the chapters as notebooks in JupyterLab
	$(BIN)/python -m ctlib.book lab

bench: $(STAMP) ## time the operators against other libraries, about 15 minutes; OUT=FILE names the JSON
	$(BIN)/python tests/bench --out $(or $(OUT),_build/bench.json)

gpu:           ## all that needs a GPU, MINUTES=8 a call, on a bare machine with torch for CUDA; call again to go on (Error 4: steps left)
	@$(PYTHON) tools/gpu --minutes $(or $(MINUTES),8) $(ARGS)

gpu-pack:      ## fetch what a bare GPU machine lacks (ARGS="--python 3.12") into _build/gpu-pack; once, where there is a network
	@$(PYTHON) tools/gpu/pack.py $(ARGS)

clean:         ## remove built pages and stored runs (not the environment, nor what `make gpu` and `make gpu-pack` keep)
	@if [ -d _build ]; then find _build -mindepth 1 -maxdepth 1 ! -name gpu ! -name gpu-pack -exec rm -rf {} +; fi

clean-gpu:     ## remove what `make gpu` keeps in _build, hours of trainings, and what `make gpu-pack` fetched
	rm -rf _build/gpu _build/gpu-pack
