# Every target is a promise to a user; `make` without a target lists them. Plain pip is enough.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PY ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))' 2>/dev/null && { echo $$p; exit; }; done)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Half of the tests' time is waiting for sockets and timers, so two per processor.
WORKERS ?= $(shell expr 2 '*' $$(getconf _NPROCESSORS_ONLN))

.PHONY: help setup check test test-fast faults money demo run sim bench fleet lint types imports profiles migration docs golden clean

help: ## list every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

$(VENV)/.stamp: pyproject.toml constraints.txt
	@test -n "$(PY)" || { echo "Python 3.11, 3.12 or 3.13 is needed; none was found on PATH (set PY=/path/to/python)"; exit 1; }
	@$(PY) -c 'import ensurepip' 2>/dev/null || { echo "$(PY) has no ensurepip: install the venv package of your system (Debian: apt install python3-venv)"; exit 1; }
	$(PY) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.stamp ## make .venv and install everything into it

demo: $(VENV)/.stamp ## the whole system with simulated chargers and a simulated buyer (ONCE=1: run the stories and exit)
	$(BIN)/csms demo $(if $(ONCE),--once) $(ARGS)

run: $(VENV)/.stamp ## the server on SQLite for real chargers (configuration: csms.toml, CSMS_* variables)
	$(BIN)/csms serve $(ARGS)

sim: $(VENV)/.stamp ## a fleet of simulated chargers against a running system (ARGS="--url ws://… --count N")
	$(BIN)/csms-sim fleet $(ARGS)

test: $(VENV)/.stamp ## all tests
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-fast: $(VENV)/.stamp ## the tests without the slow ones
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not slow and not faults' $(ARGS)

faults: $(VENV)/.stamp ## the long seeded fault runs (SEEDS=N)
	CSMS_FAULT_SEEDS=$(or $(SEEDS),25) $(BIN)/pytest -m faults -p no:xdist --timeout 3600 $(ARGS)

money: $(VENV)/.stamp ## thousands of random purchases, their books checked (STORIES=N)
	CSMS_STORIES=$(or $(STORIES),2000) $(BIN)/pytest -n auto --timeout 3600 tests/money $(ARGS)

check: lint types imports profiles ## lint, format, types, import rules, docs checks
	$(BIN)/pytest -q -p no:xdist tests/test_docs.py

lint: $(VENV)/.stamp ## ruff, both halves
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.stamp ## mypy --strict on the packages
	$(BIN)/mypy

profiles: $(VENV)/.stamp ## every firmware profile, with its evidence
	$(BIN)/csms profiles check

imports: $(VENV)/.stamp ## who may import whom
	$(BIN)/lint-imports

bench: $(VENV)/.stamp ## the performance suite beside its two yardsticks (QUICK=1: under two minutes)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

fleet: $(VENV)/.stamp ## ten thousand chargers on one process, and half of them back in the same minute (ARGS="--tls")
	$(BIN)/python -m benchmarks.fleet $(ARGS)

migration: $(VENV)/.stamp ## write a migration from the tables (NAME="what changes")
	$(BIN)/python -m csms.storage.newmigration "$(NAME)"

docs: $(VENV)/.stamp ## rewrite the parts of docs/ that are printed from the code
	$(BIN)/python tests/docs_blocks.py

golden: $(VENV)/.stamp ## write the kept transcripts of every Beckn dialect anew (read the difference afterwards)
	CSMS_GOLDEN=write $(BIN)/pytest -q tests/golden $(ARGS)

clean: ## remove what was built and the demo's data (never your data folder)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis data/demo
