# `make` alone lists the targets. A fresh clone needs Python 3.11 or newer, make and the package index.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The first Python that is new enough and can make virtual environments; `make PYTHON=...` names another.
usable := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c '$(usable)' 2>/dev/null && { command -v "$$p"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
BASE := $(VENV)/installed-base
DEV := $(VENV)/installed-dev
# Tests run beside each other, in one process more than there are cores: there is always one that waits for a server.
JOBS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
# Another one than the newest for the tests: `make test-oldest`.
CELERY ?= celery
OLDEST ?= 5.4
GROUP ?= dev
PYTEST := $(BIN)/python -m pytest
ARGS ?=
# Tests start hundreds of short processes, which would all compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(BASE) ## the main job end to end: a real worker, real tasks, queries over what was kept
	@$(BIN)/rootcellar demo $(ARGS)

.PHONY: test
test: $(DEV) ## all tests, with real servers found, installed or skipped; ends with the table of stores
	$(PYTEST) -n $(JOBS) --dist loadgroup $(ARGS)

.PHONY: test-quick
test-quick: $(DEV) ## the tests that need no server and no worker, in under a minute
	ROOTCELLAR_HYPOTHESIS_PROFILE=quick $(PYTEST) -n $(JOBS) --dist loadgroup -m 'not server and not worker and not fault and not slow' $(ARGS)

# What depends on Celery's version; servers do not. `make test-oldest OLDEST=5.5` takes another version.
.PHONY: test-oldest
test-oldest: ## the tests of Celery's side, with real workers, against the oldest Celery that is promised
	$(MAKE) .venv-$(OLDEST)/installed-dev VENV=.venv-$(OLDEST) CELERY='celery==$(OLDEST).*' GROUP=test
	.venv-$(OLDEST)/bin/python -m pytest -n $(JOBS) --dist loadgroup tests/celery tests/unit/celery tests/unit/waiting tests/aio \
		-m 'not server and not fault and not slow' -k 'not sqlite-threads and not sqlite-solo and not sqlite-eventlet' $(ARGS)

.PHONY: lint
lint: $(DEV) ## ruff with everything on, and the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(DEV) ## put the sources in the one format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: types
types: $(DEV) ## strict types over sources and tests
	$(BIN)/mypy $(ARGS)

.PHONY: bench
bench: $(DEV) ## measure against stock Celery and the bare drivers, on durable servers (long)
	$(BIN)/python -m bench $(ARGS)

.PHONY: docs
docs: $(DEV) ## build the documentation into site/, strictly
	$(BIN)/zensical build --clean --strict

.PHONY: servers
servers: $(DEV) ## start the servers of the tests, print their URLs, stop them on Ctrl-C
	@$(BIN)/python -m tests.servers $(ARGS)

.PHONY: clean
clean: ## remove what was built and measured; keep the environment
	rm -rf build dist site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove the environment too
	rm -rf $(VENV) .venv-[0-9]*

$(BIN)/python:
	@[ -n '$(PYTHON)' ] || { echo 'No Python 3.11 or newer with venv was found: name one with make PYTHON=...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(BASE): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]'
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]' --group $(GROUP) '$(CELERY)'
	@touch $@ $(BASE)
