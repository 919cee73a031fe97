"""Benchmark whole training steps, compared with PyTorch; see train_step.py."""

from partae_fast.bench.common import Contest
from partae_fast.bench.declaration import STEP_ROUNDS, benchmark
from partae_fast.bench.passes import STEP
from partae_fast.bench.shapes import SMOKE
from partae_fast.bench.train_step import CONFIGURATIONS, ON_GPU, OURS, contest, peer_names
from partae_fast.kernels import OPS


@benchmark(
    "train_steps",
    passes=(STEP,),
    shapes=CONFIGURATIONS,
    on_gpu=ON_GPU,
    smoke=SMOKE,
    ours=lambda device: [*OPS["train_steps"].backends[::-1]],
    prefix=OURS,
    peers=peer_names,
    rounds=STEP_ROUNDS,
    name="train",
)
def bench_train_step(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    return contest(shape, device, backends)
