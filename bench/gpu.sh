#!/usr/bin/env bash
# Run every GPU check and measurement; see gpu.py. bench/README.md lists the packages that the machine needs.
#
#   bash bench/gpu.sh FOLDER --call 1     (then --call 2, --call 3; each takes under ten minutes)
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python3}" -m partae_fast.bench.gpu "$@"
