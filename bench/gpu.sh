#!/usr/bin/env bash
# On a machine with a GPU: every GPU test, then the ceilings and every benchmark with its peers.
#
#   bash bench/gpu.sh [FOLDER] [PART...]
#
# Parts: tests, verify, ops, steps, curves, population; all of them without one, in that order. Writes logs, JSON rows,
# and the tables and plots made of them to FOLDER ($OUT, else bench/results/gpu). Runs from a checkout with torch,
# triton, cupy, numba, numpy, scipy, matplotlib and pytest, nothing installed. Exits with 1 if a test failed or a
# version was wrong, after everything has run.
set -uo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-${OUT:-$here/bench/results/gpu}}
shift || true
parts=" ${*:-tests verify ops steps curves population} "
mkdir -p "$out"
cd "$here" || exit 1
export PYTHONPATH=$here PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
failed=0

wanted() { [[ $parts == *" $1 "* ]]; }

run() { # NAME COMMAND...: the command, its output in FOLDER/NAME.log too
    local name=$1
    shift
    printf '\n== %s (after %d s)\n' "$name" "$SECONDS"
    "$@" 2>&1 | tee "$out/$name.log" || failed=1
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/device.txt" || exit 1
if wanted tests; then # those of train_steps first: what the rows below stand on
    run tests-train-steps "$python" -m pytest -q -m gpu tests/conformance/test_train_steps.py tests/kernels
    run tests "$python" -m pytest -q -m gpu tests --ignore tests/kernels \
        --ignore tests/conformance/test_train_steps.py
fi
if wanted verify; then
    for backend in triton cuda; do
        run "verify-$backend" "$python" -m partae_fast verify --backend "$backend"
    done
fi
if wanted ops; then
    for op in $("$python" -c 'from partae_fast.bench.command import CONTESTS; print(*CONTESTS)'); do
        run "$op" "$python" -m partae_fast bench "$op" --device cuda --json "$out/$op.json"
        [ ! -s "$out/$op.json" ] || run "render-$op" "$python" -m partae_fast.bench.render "$out/$op.json"
    done
fi
if wanted curves; then # the table comes with them
    run train-step "$python" -m partae_fast bench train-step --device cuda --curves --results "$out"
elif wanted steps; then
    run train-step "$python" -m partae_fast bench train-step --device cuda --results "$out"
fi
if wanted population; then # the 60 models of the paper's figure 6, extrapolated to 10^6 steps
    run population "$python" -m partae_fast.bench.population --models 60 --seconds 20 --results "$out"
fi
exit $failed
