# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types clean

# torch first and pinned: it is by far the largest, and nothing may pull another build of it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/qinspect demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The folders install as qinspect.*; a tree of links gives the checker those names with these files behind them.
types: $(STAMP)
	mkdir -p build/typecheck/qinspect
	for f in inspector kernels tui; do ln -sfn ../../../$$f build/typecheck/qinspect/$$f; done
	$(BIN)/mypy -p qinspect.inspector -p qinspect.kernels -p qinspect.tui
	$(BIN)/mypy tests benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info
