"""Rows for the Triton back-end as JSON lines; `verify` runs this in a process with TRITON_INTERPRET=1."""

import json
import sys

from .verify import verify

for entry in verify(sys.argv[1], "triton"):
    print(json.dumps(entry.to_dict()), flush=True)
