# Two commands are enough on a fresh machine with Python 3.11+ and make: `make run`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests mostly wait for processes, so there are more of them at a time than cores.
PYTEST := $(BIN)/python -m pytest
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Programs start often, in tests by the hundred: each would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run demo test test-unit test-stack test-browser test-upstream test-wheel lint format lock bench bench-peers bench-outcomes clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 run"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing (on Debian: apt install python3-venv)"; exit 2; }

# The kit is installed from the checkout, so its command and entry points exist.
INSTALL := $(BIN)/python -m pip install --quiet
KIT := $(INSTALL) --no-deps --no-build-isolation --editable telemetry

$(VENV)/.installed: requirements.lock telemetry/pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) ..."
	@$(INSTALL) --require-hashes --requirement requirements.lock
	@$(KIT)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Setting up the tools for tests ..."
	@$(INSTALL) --require-hashes --requirement requirements-dev.lock
	@touch $@

run: setup ## Set up and run everything: Redis, web, worker, beat, agent, mail; FLOWER=1 adds Flower
	@exec $(BIN)/python -m app up

demo: setup ## Try every route of the service that `make run` runs
	@$(BIN)/python -m app demo

test: setup-dev ## Set up and pass the tests, with a real Redis and real workers
	@$(PYTEST) -q -n 4 --dist loadfile -m "not stack and not browser and not wheel and not upstream"

test-unit: setup-dev ## The fast tests alone
	@$(PYTEST) -q -n 4 tests/unit

test-stack: setup-dev ## Tests with the real Collector, Jaeger and Prometheus (builds them with Go)
	@$(PYTEST) -m stack

test-browser: setup-dev ## The pages in a real Chromium
	@$(PYTEST) -m browser

test-upstream: setup-dev ## OpenTelemetry's own tests of its instrumentations, with the kit's
	@$(PYTEST) -m upstream

test-wheel: setup-dev ## The kit's wheel in a project of its own
	@$(PYTEST) -m wheel

bench: bench-peers ## Measure all that the docs quote: cost beside other kits, start and stop, imports, kills (some 25 minutes)
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.lives
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.footprint
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.imports
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.bulkmail
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.kills
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.pickup
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.mainprocess

# The peers' packages stay out of the project's own environment and lock files.
PEERS := var/bench-peers

$(PEERS)/.installed: bench/peers.lock | $(VENV)/.installed-dev
	@echo "Setting up $(PEERS) ..."
	@$(BIN)/python -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --require-hashes --requirement bench/peers.lock
	@$(PEERS)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable telemetry
	@touch $@

bench-peers: setup-dev $(PEERS)/.installed ## Measure what other kits cost beside ours, and write README's table and plot (some 6 minutes)
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.overhead --python $(PEERS)/bin/python --readme README.md

bench-outcomes: setup-dev $(PEERS)/.installed ## Compare what kits tell of tasks that end badly, and write the table of docs/outcomes.md (some 10 minutes)
	@PYTHONPATH=.:telemetry $(BIN)/python -m bench.outcomes --python $(PEERS)/bin/python --page docs/outcomes.md

lint: setup-dev ## ruff, mypy and import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=.:telemetry $(BIN)/lint-imports

format: setup-dev ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

lock: setup-dev ## Renew the hashed lock files
	@$(BIN)/$(LOCK) --upgrade pyproject.toml telemetry/pyproject.toml -o requirements.lock
	@$(BIN)/$(LOCK) --extra dev -c requirements.lock pyproject.toml telemetry/pyproject.toml -o requirements-dev.lock
	@$(BIN)/$(LOCK) --upgrade -c requirements-dev.lock bench/peers.in telemetry/pyproject.toml -o bench/peers.lock

clean: ## Remove the virtual environment and all state
	@rm -rf $(VENV) var
