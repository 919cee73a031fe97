"""Measure the memory of training steps, each version in a forked child; `memory.peaks` runs this as a process.

It reads requests, a JSON list, from standard input and writes the answers to standard output.
"""

import json
import os
import sys
import traceback
from typing import Any

# Imported before the fork, so that no figure includes their code.
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
            os.dup2(2, 1)  # standard output is for the answers, not for what compilers print
            try:
                answer = _measure(request)
            except Exception as error:  # the other versions are measured all the same
                traceback.print_exc()
                answer = {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}
            with os.fdopen(writing, "w") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"failure": "the process ended without an answer"}


def main() -> None:
    requests = json.load(sys.stdin)
    answers = [_in_child(request) for request in requests]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
