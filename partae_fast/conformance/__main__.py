"""Write rows of one back-end as JSON lines: `python -m partae_fast.conformance BACKEND SEED OP...`, run by `verify`."""

import json
import sys
from dataclasses import asdict

from .verify import verify

backend, seed, *ops = sys.argv[1:]
for entry in verify(ops, backend, seed=int(seed)):
    print(json.dumps(asdict(entry)), flush=True)
