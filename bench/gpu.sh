#!/usr/bin/env bash
# On a machine with a GPU: every GPU test, then the ceilings and every benchmark with its peers.
#
#   bash bench/gpu.sh [FOLDER]
#
# Writes logs, JSON rows, and the table and plot made of them to FOLDER ($OUT, else bench/results/gpu). Runs from a
# checkout with torch, triton, cupy, numba, numpy, scipy and pytest, nothing installed. Exits with 1 if a test failed
# or a version was wrong, after everything has run.
set -uo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-${OUT:-$here/bench/results/gpu}}
mkdir -p "$out"
cd "$here" || exit 1
export PYTHONPATH=$here PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
failed=0

run() { # NAME COMMAND...: the command, its output in FOLDER/NAME.log too
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$out/$name.log" || failed=1
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/device.txt" || exit 1
run tests "$python" -m pytest -q -m gpu tests
run verify "$python" -m partae_fast verify --backend triton
run bench "$python" -m partae_fast bench --json "$out/gpu.json"
[ ! -s "$out/gpu.json" ] || run render "$python" -m partae_fast.bench.render "$out/gpu.json"
exit $failed
