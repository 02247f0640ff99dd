#!/bin/bash
# The lessons of all notebooks with the lowest versions that settings.ini allows, in a venv of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo "$PWD/.venv/bin/uv")
"$uv" venv -q --clear --python "${PYTHON:-python3}" .venv-lowest
export VIRTUAL_ENV=$PWD/.venv-lowest PATH=$PWD/.venv-lowest/bin:$PATH
"$uv" pip install -q --resolution lowest-direct -e .
"$uv" pip install -q -e '.[dev]'  # the tools of development; what is installed stays
"$uv" pip list --format freeze | grep -iE '^(numpy|pandas|pyarrow|numba|scikit-learn|sqlalchemy|fastapi)=='
nbdev_test --n_workers 2
