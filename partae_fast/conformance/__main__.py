"""Rows for the Triton back-end as JSON lines; `verify` runs this in a process with TRITON_INTERPRET=1."""

import json
import sys
from dataclasses import asdict

from .verify import verify

for entry in verify(sys.argv[1:], "triton"):
    print(json.dumps(asdict(entry)), flush=True)
