# SPDX-License-Identifier: Apache-2.0
# Each target makes what it needs: `make quickstart` works in a fresh clone.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test test-all test-large lint docs clean

quickstart: .venv/runtime
	$(BIN)/python main.py --config=configs/quickstart.py --workdir=runs/quickstart
	@echo
	@echo "Accuracy:     runs/quickstart/results.json"
	@echo "Confusion:    runs/quickstart/confusion_test.csv"
	@echo "Predictions:  runs/quickstart/predictions_test.npz"
	@echo "Curves:       $(BIN)/tensorboard --logdir=runs/quickstart/tensorboard"

# A file's tests share what it trains; the longest files start first.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile \
          --no-loadscope-reorder --durations=25 --durations-min=10

test: .venv/dev
	$(PYTEST) -m "not slow and not large"

test-all: .venv/dev
	$(PYTEST) -m "not large"

test-large: .venv/dev  # One process: models of 2 to 10 GB.
	$(BIN)/python -m pytest -m large

lint: .venv/dev  # Style, and the types of the public API.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/dev
	$(BIN)/mkdocs build --strict
	@echo "The site is in site/index.html"

.venv/runtime: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/dev: .venv/runtime requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv .venv-newest build dist site .pytest_cache .ruff_cache .mypy_cache
