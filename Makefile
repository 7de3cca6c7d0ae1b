# make run        the whole walk on the bundled data: install, pull data and priors, invert, evaluate, register
# make test       the tests of the first tier: minutes
# make test-slow  those of the second (marker `slow`): whole sweeps, servers, browsers, kills
# make test-all   both
# make test-busy  the first tier N times (default: 5) beside two busy processes: a test that depends on luck fails
# make check      format, lint, types, import direction
# make docs       the documentation as a site, into site/
# make ui         the MLflow page
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# glass_ml starts its own processes; a second level of threads only gets in their way.
export OMP_NUM_THREADS ?= 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: data-pulled run test test-slow test-all test-busy check docs ui clean
.DEFAULT_GOAL := run

run: .venv/core
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc pull --quiet
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro register register-xanes invert
	@$(BIN)/python -m glass_ml.cli.invert

PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

data-pulled: .venv/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc pull --quiet

test: data-pulled
	$(PYTEST) -m "not slow"

test-slow: data-pulled
	$(PYTEST) -m slow

test-all: data-pulled
	$(PYTEST)

test-busy: data-pulled
	benchmarks/busy.sh $(or $(N),5) $(PYTEST) -m "not slow"

check: .venv/dev
	$(BIN)/ruff format --check glass_ml tests benchmarks examples
	$(BIN)/ruff check glass_ml tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_imports.py

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

ui: .venv/core
	$(BIN)/glass-ml ui

clean:
	rm -rf .venv build site *.egg-info .mypy_cache .ruff_cache .pytest_cache

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/core: .venv/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/docs: .venv/core
	$(PIP) -e '.[docs]'
	touch $@

.venv/dev: .venv/core
	$(PIP) -e '.[simulate,xas,benchmarks,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps DebyeCalculator==1.1.1
	touch $@
