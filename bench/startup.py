"""From the start of Python to the end of the first training step, with Numba's cache cold and warm."""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

SCRIPT = """
import torch, partae_fast as pf
import numpy as np
recordings = [np.random.default_rng(0).random((2000, 32), dtype=np.float32)]
sampler = pf.CropSampler(signal=[recordings], noise=[recordings])
pf.Trainer(pf.ConvPartitionedAutoencoder(), sampler, progress=False).run(1)
"""
WARM_RUNS = 5


def seconds() -> dict[str, float]:
    """Cold and warm wall-clock seconds, the import of torch among them; warm is a median."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}

        def run() -> float:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True)
            return time.perf_counter() - start

        cold = run()
        return {"cold": cold, "warm": float(np.median([run() for _ in range(WARM_RUNS)]))}
