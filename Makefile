# Everything from a bare checkout, given make and Python 3.11 or newer. The first call installs into .venv.

VENV ?= .venv
OUT ?= demo-out
# Of 'make soak': how long, how many cameras, where to, and more words for it (--seed 8, --faults kill-worker,kill-feed, ...).
MINUTES ?= 60
CAMERAS ?= 8
SOAK_OUT ?= soak-out
SOAK_ARGS ?=
# Of 'make fuzz': how long, and more words for it (--seed 8, --messages 100000).
SECONDS ?= 60
FUZZ_ARGS ?=
# Which build of faiss: cpu or gpu. The two exclude each other, so one environment holds one of them.
ACCEL ?= $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)
# Of 'make test' and 'make fast': how many files of tests run at a time (1: none beside another, for a debugger).
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ "$$n" -lt 4 ] && echo $$n || echo 4)
# More words for pip (an index of your own, ...) and for pytest (-k NAME, -x, ...).
PIP_ARGS ?=
PYTEST_ARGS ?=

# The first that is new enough and can make environments: Debian ships a python3 without ensurepip.
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
endif

BIN := $(VENV)/bin
# A file's tests stay together, since they share what took long to make; files begin in the order of the tests, fast ones first.
PARALLEL := $(if $(filter 0 1,$(JOBS)),,-n $(JOBS) --dist loadfile --no-loadscope-reorder)
STAMP := $(VENV)/.installed-$(ACCEL)

.DEFAULT_GOAL := help
.PHONY: help install demo test tests faults soak fuzz fast lint style types docs site wheel clean distclean
.NOTPARALLEL:

help: ## list what can be made (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  variables: VENV=$(VENV) ACCEL=$(ACCEL) PYTHON=$(if $(PYTHON),$(PYTHON),none found) OUT=$(OUT) MINUTES=$(MINUTES) CAMERAS=$(CAMERAS) JOBS=$(JOBS) PIP_ARGS= PYTEST_ARGS="

install: $(STAMP) ## make .venv and install the project in it, editable

$(STAMP): pyproject.toml constraints.txt
	$(if $(PYTHON),,$(error Python 3.11 or newer with venv is needed, and none was found. Install one (Debian: python3 and \
	python3-venv), or name it: make PYTHON=/path/to/python3.11))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PYTHON=$(PYTHON) is $$($(PYTHON) --version 2>&1); 3.11 or newer is needed" >&2; exit 1; }
	@echo "installing into $(VENV), for $(ACCEL): some minutes and gigabytes the first time (torch is big)"
	$(PYTHON) -m venv $(VENV)
	$(if $(wildcard $(VENV)/.installed-*),rm -f $(VENV)/.installed-* && $(BIN)/python -m pip uninstall --quiet --yes faiss-cpu faiss-gpu)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[$(ACCEL),dev]'
	@touch $@

demo: $(STAMP) ## render a campus scene, find what is odd in it, leave a report in OUT (demo-out)
	$(BIN)/spade-stream demo --out $(OUT)

test: lint tests ## everything: lint, then all tests

tests: $(STAMP) ## all tests, the fast ones first
	$(BIN)/python -m pytest $(PARALLEL) --durations=10 $(PYTEST_ARGS)

faults: $(STAMP) ## every fault of the matrix, the long ones too, and the table
	$(BIN)/python -m pytest -m 'fault or long' --durations=10 $(PYTEST_ARGS)

soak: $(STAMP) ## MINUTES of CAMERAS with random faults: figures and promises, into SOAK_OUT
	$(BIN)/spade-stream bench soak --minutes $(MINUTES) --cameras $(CAMERAS) --out $(SOAK_OUT) $(SOAK_ARGS)

fuzz: $(STAMP) ## SECONDS of damaged messages into the decoder; how many, and what became of them
	$(BIN)/python tests/fuzz_wire.py --seconds $(SECONDS) $(FUZZ_ARGS)

fast: $(STAMP) ## only the tests that take no time
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow' $(PYTEST_ARGS)

lint: style types ## ruff and mypy

style: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP) ## write the pages that are made from the code
	$(BIN)/python docs/make_configuration.py
	$(BIN)/python docs/make_faults.py

site: docs ## these documents as a site that needs no network, into site/ (open site/index.html)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site

wheel: $(STAMP) ## a package for pip, into dist/
	rm -rf build
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .
	rm -rf build

clean: ## remove what tools and the demo left behind
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site *.egg-info $(OUT)
	find stream spade_core tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## the same, and the environment
	rm -rf $(VENV)
