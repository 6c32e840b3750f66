# Needs python3 (3.11 or newer) and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install quickstart test lint format bench clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: .venv/installed  ## Make .venv with adbench and everything it needs

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("adbench needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --editable '.[dev]'
	touch $@

quickstart: install  ## Install, then run suite=quickstart to a leaderboard
	$(BIN)/adbench run suite=quickstart

test: install  ## Install, then run all tests
	$(BIN)/pytest --numprocesses 2 --dist loadgroup

lint: install  ## Style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.typing $(BIN)/lint-imports

format: install  ## Put the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/bench-installed  ## Measure speed and memory against other libraries; prints tables
	$(BIN)/python tests/benchmarks/bench.py

.venv/bench-installed: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --editable '.[bench]'
	touch $@

clean:  ## Remove the environment and all that tools left
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
