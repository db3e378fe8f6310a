# Every target sets up what it needs: Python >= 3.11, make and a network are enough.
#
#   make demo    the main job on one screen: no root, no init system needed (ARGS=--once ends by itself)
#   make test    all tests that this machine can run; says what it left out
#   make lint    ruff, mypy, import contracts
#   make dashboards-check   the boards against a real Prometheus and steadyd; pictures to look at
#   make bench   steadyd beside process-exporter and monit, as ratios

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: demo test lint bench dashboards-check clean

$(VENV)/dev: pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "steadyd needs Python 3.11 or newer; name one with PYTHON=/path/to/python3 (found %s)" % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/demo: pyproject.toml requirements-demo.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "steadyd needs Python 3.11 or newer; name one with PYTHON=/path/to/python3 (found %s)" % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-demo.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/demo
	@$(BIN)/steadyd demo $(if $(ROUTE),--route "$(ROUTE)") $(ARGS)

test: $(VENV)/dev
	$(BIN)/pytest -q $(ARGS)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev
	$(BIN)/python tests/bench/replay.py
	$(BIN)/python tests/bench/run.py $(ARGS)

dashboards-check: $(VENV)/dev
	$(BIN)/pytest -q tests/dashboards $(ARGS)
	@ls .cache/dashboards/*.png

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
