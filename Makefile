# make run: install and start. make test: install and prove it. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
LIMIT := $(shell command -v timeout >/dev/null && echo timeout 1800)
SOURCES := crypto_anomaly nbs scheduled tests tools benchmarks
UV := $(or $(shell command -v uv),$(BIN)/uv)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # without cached bytecode every kernel compiles pandas anew
.PHONY: help setup run test guides lessons check audit docs bench attack hooks coverage wheel test-lowest imports outputs prepare lock shell screenshots release

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 13

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

shell: setup  ## a shell in which crypto-anomaly and jupyter are commands
	@exec $${SHELL:-bash}

test: setup  ## all tests; what needs a missing system package is skipped with a reason
	$(MAKE) -j2 check guides
	pytest -q -n 4 --dist worksteal -rs --durations=6  # runs the cells of all other notebooks against the exported modules

guides: setup  ## run the guides and the README's notebook
	$(LIMIT) nbdev_test --path nbs/guides
	$(LIMIT) nbdev_test --path nbs/index.ipynb
	$(LIMIT) nbdev_test --path nbs/front_door.ipynb

lessons: setup  ## every notebook by itself, with the definitions of its own cells
	rm -rf $(HOME)/.cache/ipython/numba_cache  # numba keeps kernels of notebook cells by the text of their own cell, and misses that one they call has changed
	$(LIMIT) nbdev_test --n_workers 2 --timing

check: setup  ## notebooks clean, package and README in sync, format, lint, types
	tools/check_sync.sh
	python tools/import_picture.py --check
	python tools/build_reference.py --check
	ruff check $(SOURCES)
	mypy

audit: setup  ## known vulnerabilities of the locked packages, where the package index tells them
	python tools/audit.py

docs: setup  ## the documentation site, into _docs/, with every link followed
	BUILD_SITE=1 pytest -q tests/test_docs.py
	if command -v quarto >/dev/null; then python tools/build_docs.py; fi

screenshots: setup  ## take the pictures of the README again, from a simulated market; needs Chromium
	python tools/screenshots.py

bench: setup  ## speed beside rivals: make bench [SIZE=quick|default|full] [ONLY="P3 P9"] [COMPARE=old.json [TOLERANCE=0.5]]; quick takes two minutes, full half an hour
	python benchmarks/bench.py $(ONLY) $(if $(SIZE),--size $(SIZE)) $(if $(COMPARE),--compare $(COMPARE)) $(if $(TOLERANCE),--tolerance $(TOLERANCE))

attack: setup  ## all long attacks, with a table of what survived: 100 duels of each pair of decisions, 100 stops, 500 inputs for each fuzz test, load, memory: make attack [COUNT=20] [URL=postgresql://…]
	FUZZ_EXAMPLES=500 python benchmarks/attack.py $(or $(COUNT),100) $(URL)

hooks: setup  ## install the git hooks of nbdev (clean notebooks, merges) and of pre-commit (format, lint, sync)
	nbdev_install_hooks
	pre-commit install

coverage: setup  ## share of the package's lines that the tests run; fails below 90 %
	VIRTUAL_ENV=$(CURDIR)/.venv $(UV) pip install -q coverage  # not among the tools of every day: numba imports it wherever it is installed
	rm -f .coverage .coverage.*
	coverage run -m pytest -q -n 2 -rs
	coverage combine -q
	coverage report

wheel: setup  ## build the wheel and start it from an empty folder
	tools/try_wheel.sh

release: setup check  ## build, check and try the wheel of the version in settings.ini, and print the tag to push
	python tools/release.py

test-lowest: setup  ## the lessons with the lowest versions that settings.ini allows, in .venv-lowest
	tools/test_lowest.sh

imports: setup  ## draw which package imports which, into the docs
	python tools/import_picture.py

outputs: setup  ## run the notebooks and save their outputs, with a PNG of each figure: make outputs [ONLY=nbs/30_data]
	python tools/save_outputs.py $(ONLY)

prepare: setup  ## after editing notebooks: format, export, clean, README, import picture
	find crypto_anomaly -name '*.nb?' -delete  # kernels of other modules that were compiled in
	ruff format -q $(SOURCES) setup.py
	find crypto_anomaly -name '*.py' ! -path crypto_anomaly/__init__.py -delete
	nbdev_export
	ruff format -q crypto_anomaly
	nbdev_clean
	nbdev_clean --fname scheduled
	python tools/build_reference.py
	python tools/build_readme.py
	python tools/import_picture.py >/dev/null

lock: setup  ## renew requirements.lock
	$(UV) pip compile -q --universal --python-version 3.11 --all-extras --no-header --no-annotate --no-emit-index-url setup.py -o requirements.lock
