# Every target sets up what it needs: Python >= 3.11, make and a network are enough.
#
#   make demo    the main job on one screen: no root, no init system needed (ARGS=--once ends by itself)
#   make test    all tests that this machine can run; says what it left out
#   make lint    ruff, mypy, import contracts
#   make dashboards-check   the boards against a real Prometheus and steadyd; pictures to look at
#   make bench   steadyd beside process-exporter and monit, as ratios
#   make docs    the documentation, into site/
#   make dist    wheel, sdist, one file, Debian package, into dist/

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
STARTED := $(shell date +%s)

.PHONY: demo test lint bench docs dashboards-check dist clean

# what is needed, in an environment of its own; a failure is one line, and the rest is in a file
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "steadyd needs Python 3.11 or newer; name one with PYTHON=/path/to/python3 (found %s)" % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what $(notdir $@) needs"
	@{ $(BIN)/python -m pip install --quiet --require-hashes -r $(1) && \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .; } >$(VENV)/install.log 2>&1 || \
	{ echo "steadyd: $(1) cannot be installed; is there a network? $(VENV)/install.log tells more" >&2; exit 1; }
	@touch $@
endef

$(VENV)/dev: pyproject.toml requirements-dev.txt
	$(call environment,requirements-dev.txt)

$(VENV)/demo: pyproject.toml requirements-demo.txt
	$(call environment,requirements-demo.txt)

demo: $(VENV)/demo
	@STEADYD_DEMO_STARTED=$(STARTED) $(BIN)/steadyd demo $(if $(ROUTE),--route "$(ROUTE)") $(ARGS)

test: $(VENV)/dev
	$(BIN)/pytest -q $(ARGS)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev
	@broken=; for part in "run.py $(ARGS)" page.py replay.py; do \
		$(BIN)/python tests/bench/$$part || broken="$$broken $$part"; \
	done; [ -z "$$broken" ]

docs: $(VENV)/dev
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with search: python3 -m http.server -d site -b 127.0.0.1 8000"

dist: $(VENV)/dev
	$(BIN)/python package/build.py $(ARGS)

dashboards-check: $(VENV)/dev
	$(BIN)/pytest -q tests/dashboards $(ARGS)
	@ls .cache/dashboards/*.png

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
