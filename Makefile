# make run    the whole walk on the bundled data: install, pull data and priors, invert, evaluate, register
# make test   the tests
# make check  format, lint, types, import direction
# make docs   the documentation as a site, into site/
# make ui     the MLflow page
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# glass_ml starts its own processes; a second level of threads only gets in their way.
export OMP_NUM_THREADS ?= 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: run test check docs ui clean
.DEFAULT_GOAL := run

run: .venv/core
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc pull --quiet
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro register invert
	@$(BIN)/python -m glass_ml.stages.overview

test: .venv/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc pull --quiet
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/dev
	$(BIN)/ruff format --check glass_ml tests benchmarks
	$(BIN)/ruff check glass_ml tests benchmarks
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
