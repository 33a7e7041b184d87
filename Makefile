# `make help` lists what there is; its text is the comments behind `##` below.

UV_VERSION := 0.13.8

PY      := .venv/bin/python
UV      := $(PY) dev/uv.py
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard stageflow-*/pyproject.toml))
PYTEST  := $(PY) -m pytest -q
READY   := .venv/.ready

export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check lint types format docs bench build chaos coverage lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## prepare .venv from the lock file; a no-op when nothing changed

# A version manager's `python3.11` may exist and still not run: ask each candidate.
$(READY): requirements.lock pyproject.toml $(MEMBERS:%=%/pyproject.toml)
	@test -x $(PY) || for python in $(PYTHON) python3.11 python3 python3.12 python3.13 python; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "making .venv with $$python"; $$python -m venv --clear .venv && break; rm -f $(PY); \
	done
	@test -x $(PY) || { echo "Python 3.11 or later is needed: make setup PYTHON=/path/to/python"; exit 1; }
	$(PY) -m pip --quiet --disable-pip-version-check install uv==$(UV_VERSION)
	$(UV) pip install --quiet --require-hashes -r requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	@touch $@

demo: setup ## audit the documents of a folder, this one by default: make demo FOLDER=...
	stageflow run examples/document_audit/audit.py:pipeline $(if $(FOLDER),--input folder="$(FOLDER)")
	@PYTHONPATH=examples python -m document_audit document-audit/report.json
	@echo "The page to read: document-audit/report.html    The story of the run: .venv/bin/stageflow runs show last"

test: setup ## run the tests, leaving out the slow ones
	$(PYTEST) -m "not slow and not bench and not chaos"

test-all: setup ## run the slow tests too
	$(PYTEST) -m "not bench and not chaos"

# The tests come before the documentation, which would bring its generated page up to date.
check: lint types ## everything that must hold before a change lands
	$(PYTEST) -m "not bench and not chaos"
	@$(MAKE) --no-print-directory docs

lint: setup ## style, formatting
	ruff check
	ruff format --check

types: setup ## mypy, strict, over the sources
	mypy

format: setup ## mend what can be mended by itself
	ruff check --fix-only --quiet
	ruff format

docs: setup ## build the documentation into build/docs; any warning fails
	$(PY) -m dev.reference
	$(PY) -m sphinx --builder html --fail-on-warning --keep-going --nitpicky --quiet docs build/docs

bench: setup ## measure speed, each fast path beside its simple baseline
	for script in $(wildcard bench/[a-z]*.py); do $(PY) $$script || exit 1; done

build: setup ## wheels and source archives of all distributions into dist
	for member in $(MEMBERS); do (cd $$member && hatchling build -d ../dist) || exit 1; done

chaos: setup ## kill, cut off and restart things while runs go on
	$(PYTEST) -m chaos || [ $$? -eq 5 ] # 5: there are none

coverage: setup ## run all tests and list the lines none of them reached
	coverage run -m pytest -q -m "not bench and not chaos" && coverage report

# Pins that still fit stay as they are; `make lock UPGRADE=1` moves all, UPGRADE=name one.
lock: setup ## work out requirements.lock anew, after a change of dependencies
	$(UV) --portable pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--all-extras --group dev $(MEMBERS:%=--no-emit-package %) --custom-compile-command "make lock" \
		$(if $(filter-out 1,$(UPGRADE)),--upgrade-package $(UPGRADE),$(if $(UPGRADE),--upgrade)) \
		--output-file requirements.lock pyproject.toml $(MEMBERS:%=%/pyproject.toml)
	$(UV) --portable pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--custom-compile-command "make lock" $(if $(filter 1,$(UPGRADE)),--upgrade) \
		--output-file tests/servers/requirements.lock tests/servers/requirements.in

clean: ## remove what the other targets made, .venv included
	rm -rf .venv .servers .servers.lock build dist .coverage .mypy_cache .ruff_cache .import_linter_cache .hypothesis
