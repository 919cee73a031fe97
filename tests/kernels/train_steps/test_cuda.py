"""Plans of the persistent kernel, its refusals and, with a GPU, its results."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from partae_fast.conformance import train_steps as conformance
from partae_fast.conformance.cases import LARGER, TINY
from partae_fast.kernels._cuda.common import assumed_limits
from partae_fast.kernels.registry import BackendUnavailable
from partae_fast.kernels.train_steps import cuda

A100 = assumed_limits(80, 166912, 108)
H200 = assumed_limits(90, 232448, 132)
B200 = assumed_limits(100, 232448, 148)
PAPER = (16, 512, 32, 32, 9, 16)  # B, N, H, K, M, P
CASES = TINY + LARGER
WIDE = [(16, 320, 64, 32, 9, 4), (16, 320, 128, 32, 9, 4)]


@pytest.mark.parametrize("limits", [A100, H200, B200], ids=["A100", "H200", "B200"])
@pytest.mark.parametrize("runs", [1, 60])
@pytest.mark.parametrize("shape", [PAPER, (1, 1, 1, 1, 1, 1), (3, 41, 5, 7, 4, 5), (4096, 512, 32, 32, 9, 16)])
def test_a_plan_fits_the_gpu(shape, runs, limits):
    cut = cuda.plan(shape, limits, 2, runs)
    assert cut is not None and cuda.why_not(shape, limits, 2, runs) is None
    assert cut.shared_bytes(2) <= limits.shared
    assert limits.resident(cut.cluster) > 0
    assert cut.population == (runs > 1)
    assert 1 <= cut.own <= math.ceil(shape[1] / shape[5])
    assert cut.split * cut.block_latents >= shape[3]
    assert cut.precision != "tf32"


def test_the_paper_configuration_keeps_an_H200_busy_for_one_round_of_tiles():
    cut = cuda.plan(PAPER, H200)
    assert cut is not None
    lanes = H200.resident(cut.cluster) * cut.lanes
    tiles = cut.tiles(*PAPER[:2])
    assert tiles <= lanes and tiles * cut.split >= 0.9 * 132


@pytest.mark.parametrize("shape", WIDE)
def test_shapes_too_large_for_a_block_are_split_or_refused(shape):
    cut = cuda.plan(shape, H200)
    assert cut is not None and cut.split > 1
    assert cuda.plan(shape, A100) is None
    reason = cuda.why_not(shape, A100, 1, 1)
    assert reason is not None and f"H {shape[2]}, K 32, M 9, P 4" in reason and "use triton or eager" in reason


def test_shared_memory_that_is_too_small_is_named():
    reason = cuda.why_not(PAPER, replace(H200, shared=20000), 1, 1)
    assert reason is not None and "and this GPU has 20000" in reason


def test_a_gpu_before_ampere_is_refused():
    reason = cuda.why_not(PAPER, assumed_limits(75, 65536, 40), 1, 1)
    assert reason is not None and "8.0 or higher and this GPU has 7.5" in reason


def test_too_many_taps_are_refused():
    reason = cuda.why_not((16, 512, 8, 8, 65, 16), H200, 1, 1)
    assert reason is not None and "up to 64 taps and the model has 65" in reason


@pytest.mark.parametrize("precision", cuda.PRECISIONS)
def test_fields_of_a_plan_can_be_fixed(precision):
    cut = cuda.plan(PAPER, H200, precision=precision, split=4)
    assert cut is not None and (cut.precision, cut.split) == (precision, 4)


def test_fewer_clusters_than_assumed_change_the_plan():
    """If a GPU cannot hold 16 clusters of 8, the plan avoids a second round for a few tiles."""
    best = cuda.plan(PAPER, H200, precision="ffma", lanes=8, split=1)
    assert best is not None and best.tiles(*PAPER[:2]) <= 128
    fewer = H200.with_resident(best.cluster, 4)
    cut = cuda.plan(PAPER, fewer)
    assert cut is not None and cut.cluster != best.cluster


def test_a_plan_is_cached():
    assert cuda.plan(PAPER, H200, 2, 1, True) is cuda.plan(PAPER, H200, 2, 1, True)


def some_run():
    case = next(case for case in CASES if case.name == "primes")
    return conformance.make_run(case, torch.float32, torch.device("cpu"))


def test_tensors_on_the_cpu_are_refused(monkeypatch):
    monkeypatch.setattr(cuda, "installed", lambda: True)
    with pytest.raises(BackendUnavailable, match="tensors on a CUDA device and these are on cpu"):
        cuda.train_steps([some_run()], 0, 1)


def test_recordings_with_targets_are_refused(monkeypatch):
    monkeypatch.setattr(cuda, "installed", lambda: True)
    run = some_run()
    weight = SimpleNamespace(device=SimpleNamespace(type="cuda"), dtype=torch.float32)
    run = replace(run, w_enc=weight, crops=replace(run.crops, target=run.crops.source))
    reason = cuda.refusal([run])
    assert reason is not None and "does not take recordings with targets of their own" in reason


def test_a_missing_cupy_is_named(monkeypatch):
    monkeypatch.setattr(cuda, "installed", lambda: False)
    reason = cuda.refusal([some_run()])
    assert reason is not None and "pip install" in reason


def prepared_with(resident, monkeypatch):
    """Return what is prepared on a GPU with resident(cluster) clusters of a kernel at once."""

    def compiled(path, name, macros, threads, cluster, shared, cooperative):
        return SimpleNamespace(resident=lambda: resident(cluster))

    monkeypatch.setattr(cuda, "compiled", compiled)
    monkeypatch.setattr(cuda, "device_limits", lambda device: H200)
    cuda.prepared.cache_clear()
    try:
        return cuda.prepared(PAPER, 1, 1, False, (), 0)
    finally:
        cuda.prepared.cache_clear()


def test_patience_is_read_from_the_environment(monkeypatch):
    assert cuda.patience() == 0
    monkeypatch.setenv("PARTAE_PATIENCE", "1500")
    assert cuda.patience() == 1500
    monkeypatch.setenv("PARTAE_PATIENCE", "1.5 s")
    with pytest.raises(ValueError, match=r"PARTAE_PATIENCE is .1\.5 s.; give whole milliseconds"):
        cuda.patience()


def test_a_gpu_that_refuses_clusters_gets_a_plan_without(monkeypatch):
    cut, _, blocks = prepared_with(lambda cluster: 132 if cluster == 1 else 0, monkeypatch)
    assert cut.cluster == 1 and blocks <= 132


def test_a_gpu_without_room_for_a_block_is_refused(monkeypatch):
    with pytest.raises(BackendUnavailable, match="the driver finds no room for a block of the kernel; use triton or"):
        prepared_with(lambda cluster: 0, monkeypatch)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_steps_on_a_gpu_agree_with_the_reference(case):
    results = conformance.train_steps(case, cuda, torch.float32, torch.device("cuda"), 1e-5)
    assert max(results.values(), default=0.0) <= 1e-5, results


def runs_on_gpu(count: int):
    case = next(case for case in CASES if case.name == "the paper's")
    run = conformance.make_run(case, torch.float32, torch.device("cuda"))
    return [replace(run.copy(), penalty=0.5 + i, crops=replace(run.crops, seed=i)) for i in range(count)]


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 5])
def test_bits_on_a_gpu_depend_on_nothing_but_the_runs(count):
    results = []
    for parts in [(5,)] * 20 + [(2, 3), (1, 4)]:
        runs, losses, done = runs_on_gpu(count), [], 0
        for steps in parts:
            losses.append(cuda.train_steps(runs, done, steps))
            done += steps
        results.append([torch.cat(losses, dim=1), *(w for run in runs for w in (run.w_enc, run.w_dec))])
    assert all(torch.equal(a, b) for other in results for a, b in zip(results[0], other, strict=True))
