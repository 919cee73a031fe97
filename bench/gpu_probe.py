"""Make one check or measurement on a GPU, and print the result on a line that begins with `row: `.

  python -m partae_fast.bench.gpu_probe versions
  python -m partae_fast.bench.gpu_probe compile BACKEND SHAPE [PLAN]
  python -m partae_fast.bench.gpu_probe barrier CLUSTER
  python -m partae_fast.bench.gpu_probe check SHAPE PLAN
  python -m partae_fast.bench.gpu_probe ceilings FILE
  python -m partae_fast.bench.gpu_probe step VERSION SHAPE TYPE FILE
  python -m partae_fast.bench.gpu_probe population MODELS SECONDS

SHAPE is B,N,H,K,M,P. PLAN sets fields of the persistent kernel's plan: precision=ffma,lanes=2. FILE holds the ceilings:
`ceilings` writes it and `step` reads it. The exit code is 1 if a result is wrong.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partae_fast import backends
from partae_fast.kernels._cuda.common import Kernel
from partae_fast.kernels.train_steps import cuda

from . import ceilings, population, train_step
from .common import LOSS_GATES
from .gpu import ROW
from .timing import environment, measure

BARRIERS = 1000
ROUNDS = 15


def answer(**values: Any) -> None:
    """Print a row of results."""
    print(ROW + json.dumps(values), flush=True)


def shape_of(text: str) -> dict[str, int]:
    """Return the sizes of "B,N,H,K,M,P" by name."""
    return dict(zip("BNHKMP", map(int, text.split(",")), strict=True))


def plan_of(text: str) -> dict[str, Any]:
    """Return the fields of a plan such as "precision=ffma,lanes=2"."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {name: int(value) if value.isdigit() else value for name, _, value in pairs}


def versions() -> None:
    properties = torch.cuda.get_device_properties(0)
    answer(
        environment=environment(),
        backends={name: [state.available, state.reason] for name, state in backends().items()},
        device={name: getattr(properties, name) for name in ("name", "major", "minor", "multi_processor_count")},
        memory_bytes=properties.total_memory,
    )


def _runs(shape: dict[str, int], models: int) -> list[Any]:
    return population.runs_of(shape, "cuda", models)


def compile_plan(backend: str, shape: str, plan: str = "") -> None:
    """Compile the kernels of a training step and print how long it took."""
    start = time.monotonic()
    sizes, fixed = shape_of(shape), plan_of(plan)
    if backend == "cuda":
        run = _runs(sizes, 1)[0]
        cut, _, blocks = cuda.prepared(run.shape, cuda.groups_of(run), 1, False, cuda.extras_of(run), 0, **fixed)
        answer(plan=dataclasses.asdict(cut), blocks=blocks, seconds=time.monotonic() - start)
    else:
        train_step.build(train_step.OURS + backend, sizes, "cuda")
        answer(seconds=time.monotonic() - start)


# COUNT times, every block adds 1 to the counter and waits until all blocks have done so. A block that waits for more
# than a second traps, so the launch fails instead of hanging.
BARRIER_SOURCE = """
struct Launch { unsigned long long counter; unsigned long long count; };
__device__ unsigned long long now() {
    unsigned long long nanoseconds;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
    return nanoseconds;
}
extern "C" __global__ void barriers(Launch launch) {
    unsigned int* counter = reinterpret_cast<unsigned int*>(launch.counter);
    for (unsigned int i = 1; i <= launch.count; ++i) {
#if CLUSTER > 1
        asm volatile("barrier.cluster.arrive.release;" ::: "memory");
        asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned long long start = now();
            asm volatile("red.release.gpu.global.add.u32 [%0], 1;" :: "l"(counter) : "memory");
            unsigned int seen = 0;
            while (seen < i * gridDim.x) {
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
                if (now() - start > 1000000000ull) __trap();
            }
        }
        __syncthreads();
    }
}
"""


def barrier(cluster: int) -> int:
    """Time a grid barrier in a cooperative launch with clusters; check that every block arrived."""
    import cupy

    options = ("-std=c++17", f"-DCLUSTER={cluster}")
    function = cupy.RawModule(code=BARRIER_SOURCE, options=options).get_function("barriers")
    kernel = Kernel("barriers", 256, cluster, 0, True, function.kernel.ptr, function)
    resident = kernel.resident()
    blocks = resident * cluster
    counter = torch.zeros(1, dtype=torch.int32, device="cuda")
    launch = np.array([counter.data_ptr(), BARRIERS], dtype=np.uint64)

    def call() -> None:
        counter.zero_()
        kernel.launch(blocks, launch, torch.cuda.current_stream().cuda_stream)

    call()
    torch.cuda.synchronize()
    arrived = int(counter.item())
    seconds = measure({"barriers": call}, "cuda", ROUNDS)["barriers"] / BARRIERS
    answer(cluster=cluster, resident=resident, blocks=blocks, arrived=arrived, seconds=float(np.median(seconds)))
    return 0 if arrived == blocks * BARRIERS else 1


def check(shape: str, plan: str) -> int:
    """Check the losses of the first training steps of a plan against float64."""
    sizes, fixed = shape_of(shape), plan_of(plan)
    models = fixed.pop("models", 1)
    kind = "tf32" if fixed.get("precision") == "tf32" else "float32"
    with train_step.rounding(kind):
        runs = [train_step.make_run(sizes, train_step.make_sampler(sizes, "cuda")) for _ in range(models)]
        losses = cuda.train_steps(runs, 0, train_step.CHECKED, **fixed).cpu().numpy()
        truth = train_step.true_losses(train_step.make_run(sizes, train_step.make_sampler(sizes, "cuda")))
    error = max(train_step.losses_differ(row, truth) for row in losses)
    answer(plan=plan, error=error, losses=losses[0].tolist(), truth=truth)
    return 0 if error <= LOSS_GATES[kind] else 1


def measure_ceilings(file: str) -> None:
    """Measure the ceilings of the GPU and write them to a file, which `step` reads."""
    limits = ceilings.ceilings("cuda")
    Path(file).write_text(json.dumps(limits))
    answer(ceilings=limits)


def step(version: str, shape: str, kind: str, file: str) -> int:
    """Check and time one version of a training step."""
    sizes = shape_of(shape)
    with train_step.rounding(kind):
        ours = [version.removeprefix(train_step.OURS)] if version.startswith(train_step.OURS) else []
        contest = train_step.contest(sizes, "cuda", ours, [] if ours else [version], kind)
        outcome = contest.run("cuda", rounds=ROUNDS)
    if version not in outcome.samples:
        print((outcome.wrong | outcome.unable)[version])
        return 1
    limits = json.loads(Path(file).read_text()) if Path(file).exists() else ceilings.ceilings("cuda")
    (row,) = contest.rows(outcome, sizes, "cuda", limits)
    answer(**row.to_dict(), peak_bytes=torch.cuda.max_memory_allocated(), environment=environment())
    return 0


def train_population(models: int, seconds: float) -> None:
    """Time a population of models of the paper's configuration, trained in one launch."""
    runs = _runs(train_step.CONFIGURATIONS[0], models)
    answer(**population.train_for(runs, seconds), environment=environment())


def main(arguments: list[str]) -> int:
    name, *rest = arguments
    if name == "versions":
        return versions() or 0
    if name == "compile":
        return compile_plan(*rest) or 0
    if name == "barrier":
        return barrier(int(rest[0]))
    if name == "check":
        return check(*rest)
    if name == "ceilings":
        return measure_ceilings(*rest) or 0
    if name == "step":
        return step(*rest)
    if name == "population":
        return train_population(int(rest[0]), float(rest[1])) or 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
