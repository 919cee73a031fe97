"""Measure the memory of training steps, each version in a forked child process.

`memory.peaks` runs this program. It reads a JSON list of requests from standard input and writes a list of results to
standard output.
"""

import json
import os
import sys
import traceback
from typing import Any

# Imported before the fork, so that the memory of their code is not measured.
import torch
import torch._dynamo
import torch._inductor.compile_fx

from . import train_step
from .memory import resident_peak, status_bytes


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(request["threads"])
    before = status_bytes("VmRSS")
    step = train_step.build(request["version"], request["shape"], "cpu", request["form"])
    peak, after = resident_peak(step)
    return {"peak_bytes": peak, "held_bytes": max(0, after - before)}


def _in_child(request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.dup2(2, 1)  # what compilers print goes to standard error; standard output is for results only
            try:
                result = _measure(request)
            except Exception as error:  # the other versions are still measured
                traceback.print_exc()
                result = {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}
            with os.fdopen(writing, "w") as pipe:
                json.dump(result, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"failure": "the process ended without a result"}


def main() -> None:
    requests = json.load(sys.stdin)
    print(json.dumps([_in_child(request) for request in requests]))


if __name__ == "__main__":
    main()
