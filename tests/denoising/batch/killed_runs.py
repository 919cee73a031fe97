"""Denoise the folder june into clean with the model m, in processes that are killed (SIGKILL) at random times.

A program of its own, because a process that has started threads should not be forked. The arguments are the number of
kills and a seed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import soundfile  # noqa: F401 (imported once, not in each process)
import torch._dynamo  # noqa: F401

from partae_fast import atomic
from partae_fast.denoising.batch.folder import denoise_folder
from partae_fast.denoising.batch.journal import NAME
from partae_fast.kernels.decode import cpu as _decode  # noqa: F401
from partae_fast.kernels.encode import cpu as _encode  # noqa: F401


def run() -> int:
    """Start a run in a process; return its id."""
    process = os.fork()
    if not process:
        atomic._remove_abandoned_once.cache_clear()  # as in a new process
        try:
            denoise_folder("m", ["june"], "clean", progress=False)
        finally:
            os._exit(0)
    return process


def size() -> int:
    return os.path.getsize(Path("clean", NAME)) if Path("clean", NAME).exists() else 0


def main(kills: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(kills):
        process, before = run(), size()
        # The journal grows by about 600 bytes with a recording.
        enough = before + chance.uniform(300, 4000)
        while size() < enough:
            assert not os.waitpid(process, os.WNOHANG)[0], "the run ended before it was killed"
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.01))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    os.waitpid(run(), 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
