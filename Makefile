# The front door for developers: `make` lists the commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8888
ARGS ?=

# Threads that wait asleep: on a busy machine spinning ones slow everything down tenfold.
export OMP_WAIT_POLICY ?= PASSIVE
# Every process of a run reads what the first has compiled.
export PYTHONDONTWRITEBYTECODE :=
# A process more than there are cores, because one often waits, each computing on one core; slow tests
# and timings have the machine to themselves. All tests of a file run in one process, which so makes what
# they share once. Memory stays with the process, because to give it back after every layer takes time.
PROCESSES = $(shell $(BIN)/python -c 'import os; print(min(8, 1 + (os.cpu_count() or 1)))')
IN_PARALLEL = OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TRIM_THRESHOLD_=8000000000 \
	$(BIN)/python -m pytest -m 'not slow and not weights and not gpu' \
	--numprocesses $(PROCESSES) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install run run-fake demo test test-all check format lint types openapi coverage bench docker clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[onnx]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.runtime

install: $(VENV)/.dev ## virtual environment with development extras

run: $(VENV)/.runtime ## serve the embedded model on port 8888 (PORT=…, ARGS='--host 0.0.0.0 …')
	$(BIN)/python main.py --preset tiny --port $(PORT) $(ARGS)

run-fake: $(VENV)/.dev ## the same server with a fake engine, for trying clients
	$(BIN)/python -m tests.run_fake --port $(PORT) $(ARGS)

demo: $(VENV)/.runtime ## call every generation endpoint, write outputs/demo.png
	$(BIN)/python -m tools.demo $(ARGS)

format: $(VENV)/.dev ## format the code and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## check types
	$(BIN)/mypy

test: $(VENV)/.dev ## default test suite
	$(IN_PARALLEL) $(ARGS)

test-all: $(VENV)/.dev ## every test, also slow ones and those that need real weights or a GPU
	$(BIN)/python -m pytest $(ARGS)

check: lint types test ## what CI runs, and what is run before every commit

openapi: $(VENV)/.dev ## write docs/openapi.json and the tables of docs/api.md anew
	$(BIN)/python -m tools.write_openapi

coverage: $(VENV)/.dev ## lines that no test reaches
	$(IN_PARALLEL) \
		--cov=fooocusapi --cov=fooocus_core --cov-report=term-missing:skip-covered $(ARGS)

bench: $(VENV)/.dev ## timings, one JSON object per line
	$(BIN)/python -m benchmarks.step_time
	$(BIN)/python -m benchmarks.http_overhead
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.catalog_scan
	$(BIN)/python -m benchmarks.load_time
	$(BIN)/python -m benchmarks.memory

docker: ## build the CUDA image
	docker build --tag fooocusapi .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage
