# make demo: see digits. make test: prove the mathematics. Both make their own environment in .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check faults kills fuzz clean
.DEFAULT_GOAL := demo

demo: .venv/ready
	$(BIN)/noisette demo --out demo

test: .venv/ready-to-develop check
	$(BIN)/pytest -q

check: .venv/ready-to-develop
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every reader against 500 damaged and hostile files of each kind; `make test` tries some of them.
fuzz: .venv/ready-to-develop
	NOISETTE_FUZZ=500 $(BIN)/pytest -q tests/fuzz

faults: .venv/ready-to-develop
	$(BIN)/python tools/faults.py

kills: .venv/ready-to-develop
	OMP_NUM_THREADS=1 $(BIN)/python tools/kills.py

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "noisette needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

# torch goes first: whichever build of it is there already is kept (see "Install" in the README).
.venv/ready: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet "torch>=2.13,<2.14"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/ready-to-develop: pyproject.toml | .venv/ready
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv demo
