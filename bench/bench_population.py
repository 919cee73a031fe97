"""Benchmark training several models in one launch, compared with one model alone; see population.py."""

from partae_fast.bench.common import Contest
from partae_fast.bench.declaration import STEP_ROUNDS, benchmark
from partae_fast.bench.passes import STEP
from partae_fast.bench.population import ALONE, TOGETHER, contest
from partae_fast.bench.shapes import SMOKE
from partae_fast.bench.train_step import CONFIGURATIONS


@benchmark(
    "population",
    passes=(STEP,),
    shapes=CONFIGURATIONS[:1],
    smoke=SMOKE,
    ours=lambda device: [ALONE, TOGETHER],
    peers=lambda device: [],
    rounds=STEP_ROUNDS,
)
def bench_population(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    return contest(shape, device)
