#!/bin/bash
# Build the wheel, install it into an empty environment in an empty folder, and start it there.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo "$PWD/.venv/bin/uv")
python=${PYTHON:-python3}
rm -rf dist
"$uv" build -q --out-dir dist
wheel=$(ls "$PWD"/dist/*.whl)
lock=$PWD/requirements.lock
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$uv" venv -q --python "$python" env
VIRTUAL_ENV=$folder/env "$uv" pip install -q -c "$lock" "$wheel"
export CRYPTO_ANOMALY_SOURCE=simulated CRYPTO_ANOMALY_HOME=$folder/var
env/bin/crypto-anomaly doctor
env/bin/crypto-anomaly up --once --source simulated
env/bin/crypto-anomaly scan --top 3
echo "$(basename "$wheel") starts from an empty folder."
