# Two commands do all the set-up, each on its own: `make demo` and `make test`.
# Only Python >= 3.11 and make are assumed; uv is used when it is there.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests that run side by side. Most of a test's time is that of processes that start, or waiting.
JOBS ?= 4
UV := $(shell command -v uv 2>/dev/null)

ifdef UV
CREATE = $(UV) venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV)
INSTALL = VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet
else
CREATE = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

# Tests start thousands of processes. Where this is set, as in many containers, each of them would
# compile the program anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint format bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/'

demo: $(VENV)/.installed ## four echo backends, the balancer and a light load, live in this terminal
	@exec $(BIN)/tcplb demo

test: $(VENV)/.installed-test ## run all tests
	$(BIN)/python -m pytest -n $(JOBS)

# It takes twice the time: every process that a test starts is measured too.
coverage: $(VENV)/.installed-test ## run all tests and say what they cover; fails below 95 %
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n $(JOBS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(VENV)/.installed-lint ## ruff, mypy --strict and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-lint ## let ruff format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## compare with HAProxy, nginx and Go: ten minutes, see bench/README.md
	$(BIN)/python -m bench

clean: ## remove what the other targets made
	rm -rf $(VENV) .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tcplb needs Python 3.11 or newer; name one with: make PYTHON=python3.11" >&2; exit 1; }
	@$(CREATE) || { echo "could not create $(VENV); on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-lint: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[test,lint]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test
