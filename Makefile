PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-oldest lint types layers docs clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "unlabeled needs Python 3.10 or newer: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	touch $@

demo: $(VENV)/installed  ## pretrain on real images, probe, show
	$(BIN)/unlabeled demo

# several at once, each file by one of them: what a file's tests share is made once
JOBS ?= 2
test: $(VENV)/installed-test  ## all tests
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

OLDEST_PYTHON ?= python3.10
TESTS ?=
test-oldest:  ## the quick tests with the oldest versions allowed (6 GB); some of them: make test-oldest TESTS=tests/data
	test -x .venv-oldest/bin/python || $(OLDEST_PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints/oldest.txt --editable '.[test]'
	.venv-oldest/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile -m 'not slow' $(TESTS)

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

docs: $(VENV)/installed-docs  ## the pages, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/mypy

layers: $(VENV)/installed-test
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .venv-oldest build dist site
