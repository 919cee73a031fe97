"""Benchmark the time from the start of Python to the end of the first training step.

Numba's cache is cold or warm.
"""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch, partae_fast as pf
import numpy as np
recordings = [np.random.default_rng(0).random((2000, 32), dtype=np.float32)]
sampler = pf.CropSampler(signal=[recordings], noise=[recordings])
pf.Trainer(pf.ConvPartitionedAutoencoder(), sampler).run(1)
"""
WARM_ROUNDS, QUICK_ROUNDS = 5, 2


@pytest.mark.benchmark(group="startup")
@pytest.mark.parametrize("version", ["cold cache", "warm cache"])
def bench_startup(benchmark, version, tmp_path_factory, pytestconfig):
    """Time whole processes, including the import of torch.

    The warm version first fills a cache of its own; with --quick it uses the user's cache.
    """
    quick = pytestconfig.getoption("quick")
    if pytestconfig.getoption("smoke") or (quick and version == "cold cache"):
        pytest.skip("a cold start takes too long here: it compiles every kernel")
    warm = version == "warm cache"
    cache = {} if quick else {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}

    def start() -> None:
        subprocess.run([sys.executable, "-c", SCRIPT], env={**os.environ, **cache}, check=True)

    rounds = (QUICK_ROUNDS if quick else WARM_ROUNDS) if warm else 1
    benchmark.extra_info.update({"op": "startup", "pass": "first step", "version": version, "peer": False})
    benchmark.pedantic(start, rounds=rounds, warmup_rounds=int(warm))
