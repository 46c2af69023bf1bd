# Two commands on a fresh clone do everything: `make quickstart` and `make test`.
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Each test goes to the next free worker, in the order of the files. Those that fork a process which trains come before
# those that recompute activations, after which PyTorch lets no fork of theirs train.
TWO_WORKERS := --numprocesses 2 --dist loadgroup

.PHONY: install quickstart test test-slow lint types help
help:
	@echo "make install     set up $(VENV) with an editable install"
	@echo "make quickstart  train a small CLIP on procedural scenes (one to two minutes on 2 cores)"
	@echo "make test        the default tests (below 10 minutes on 2 cores)"
	@echo "make test-slow   the slow tests (below 50 minutes on 2 cores)"
	@echo "make lint types  ruff and mypy"

$(STAMP): pyproject.toml
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade pip
	$(PYTHON) -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)

install: $(STAMP)

quickstart: $(STAMP)
	$(PYTHON) -m clip_lightning fit --config configs/quickstart.yaml

test: $(STAMP)
	$(PYTHON) -m pytest $(TWO_WORKERS)

test-slow: $(STAMP)
	$(PYTHON) -m pytest -m slow $(TWO_WORKERS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)
	$(VENV)/bin/mypy
