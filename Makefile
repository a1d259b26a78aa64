# make run: see Weir at work.  make test: all tests.  make check: everything CI runs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint check bench clean

run: .venv/installed
	$(BIN)/weir demo

test: .venv/tested programs
	$(BIN)/coverage erase
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml $(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

lint: .venv/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

bench: .venv/tested
	$(BIN)/python -m benchmarks --write
	$(BIN)/python -m benchmarks.core

# What the tests start besides Python: installed when we may, named when we may not.
.PHONY: programs
programs:
	@sh tests/programs.sh

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/tested: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
