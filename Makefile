# make run: install and start. make test: install and prove it. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
UV := $(or $(shell command -v uv),$(BIN)/uv)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # without cached bytecode every kernel compiles pandas anew
.PHONY: help setup run test check docs bench prepare lock

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

setup: .venv/.done  ## create .venv and install everything (safe to repeat)
.venv/.done: settings.ini setup.py pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and f"Python 3.11 to 3.13 is needed, $(PYTHON) is {sys.version.split()[0]}; run make PYTHON=python3.12 …")'
	test -x $(BIN)/python || if command -v uv >/dev/null; then uv venv -q --python $(PYTHON) .venv; else $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }; fi
	command -v uv >/dev/null || $(BIN)/python -m pip install -q --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/.venv $(UV) pip install -q -c requirements.lock -e '.[dev]'
	$(BIN)/python tools/warm_up.py
	touch $@

run: setup  ## watch the market: backfill, train, evaluate, then serve on http://127.0.0.1:8000
	crypto-anomaly up $(ARGS)

test: setup check  ## all tests; what needs a missing system package is skipped with a reason
	rm -rf $(HOME)/.cache/ipython/numba_cache  # numba keeps kernels of notebook cells by the text of their own cell, and misses that one they call has changed
	nbdev_test --n_workers 2 --timing
	pytest -q -n 3 -rs --durations=6

check: setup  ## notebooks clean, package and README in sync, lint
	tools/check_sync.sh
	ruff check crypto_anomaly nbs scheduled tests tools benchmarks

docs: setup  ## the documentation site, into _docs/
	python tools/build_docs.py

bench: setup  ## the bars that exist so far, measured here: make bench [ONLY="P3 P9"]; P1 takes ten minutes, BENCH_COINS=200 for a look
	python benchmarks/bench.py $(ONLY)

prepare: setup  ## after editing notebooks: export, clean, README
	rm -f crypto_anomaly/__pycache__/*.nb?  # kernels of other modules that were compiled in
	ruff format -q nbs scheduled tests tools benchmarks setup.py
	nbdev_export && ruff format -q crypto_anomaly
	nbdev_clean && nbdev_clean --fname scheduled && python tools/build_readme.py

lock: setup  ## renew requirements.lock
	$(UV) pip compile -q --universal --python-version 3.11 --all-extras --no-header --no-annotate --no-emit-index-url setup.py -o requirements.lock
