"""train_steps in Triton: in the interpreter, in a process of its own, and on a GPU."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from partae_fast.kernels.tf32 import tf32
from partae_fast.kernels.train_steps import cuda

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

FILE = Path(__file__).with_name("triton_interpreted.py")


@pytest.mark.slow
def test_steps_through_the_interpreter(python):
    run = python("-m", "pytest", "-x", str(FILE), TRITON_INTERPRET="1")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def cases():
    """Return the module of the interpreted tests, with an empty cache of plans."""
    module = importlib.import_module(f".{FILE.stem}", __package__)
    module.triton._uses.clear()
    module.triton._plans.clear()
    return module


def on_gpu(run, source=torch.float32, device="cuda"):
    """Return the run with all its tensors on the GPU."""
    state = {name: tuple(t.to(device) for t in tensors) for name, tensors in run.state.items()}
    crops = replace(run.crops, source=run.crops.source.to(device, source))
    names = ("w_enc", "w_dec", "mean", "std", "foreground")
    return replace(run, state=state, crops=crops, **{name: getattr(run, name).to(device) for name in names})


def off_gpu(run):
    state = {name: tuple(t.cpu() for t in tensors) for name, tensors in run.state.items()}
    return replace(run, state=state, w_enc=run.w_enc.cpu(), w_dec=run.w_dec.cpu())


LARGE = {  # B, N, H, K, M, P, noise-only share
    "more items than multiprocessors": (300, 48, 16, 16, 9, 16, 0.25),
    "the paper's model": (6, 512, 32, 32, 9, 16, 0.25),
    "many bins, short pools": (4, 320, 64, 32, 9, 4, 0.25),
    "several blocks of everything": (3, 100, 128, 80, 11, 5, 0.4),
    "nothing divides": (5, 131, 41, 37, 4, 7, 0.4),
    "no pooling": (3, 70, 8, 20, 3, 1, 0.4),
}


@pytest.mark.gpu
@pytest.mark.parametrize("rule", ["adadelta", "adam", "sgd", "nesterov"])
@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
def test_agrees_with_the_reference_on_a_gpu(cases, shape, rule):
    problem = cases.Problem(*shape, rule=rule)
    run = on_gpu(problem.run())
    losses = cases.triton.train_steps([run], cases.FIRST, 1)
    cases.check(problem, off_gpu(run), losses.cpu(), 1)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
def test_tf32_and_bfloat16_are_near_the_reference(cases, shape):
    problem = cases.Problem(*shape, rule="sgd")
    for group in (*problem.signal, *problem.noise):
        group[:] = [torch.tensor(r).bfloat16().float().numpy() for r in group]
    learner, expected = problem.truth(1)
    for source, tolerance in ((torch.float32, 1e-3), (torch.bfloat16, 2e-2)):
        run = on_gpu(problem.run(), source)
        with tf32(True):
            losses = cases.triton.train_steps([run], cases.FIRST, 1)
        cases.agree("loss", losses[0].cpu(), np.array(expected), tolerance)
        for name in ("w_enc", "w_dec"):
            moved = getattr(run, name).cpu() - torch.tensor(getattr(problem, name))
            cases.agree(name, moved, learner.weights[name] - getattr(problem, name), 10 * tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("rule", ["adadelta", "adam", "sgd", "nesterov"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_replayed_graph_gives_the_bits_of_plain_launches(cases, rule, allowed, monkeypatch):
    monkeypatch.setattr(cases.triton, "GRAPH_STEPS", 4)
    with tf32(allowed):
        check_a_replayed_graph(cases, rule)


def check_a_replayed_graph(cases, rule):
    problem = cases.Problem(*LARGE["more items than multiprocessors"], rule=rule)
    replayed, plain, parts = (on_gpu(problem.run()) for _ in range(3))
    losses = cases.triton.train_steps([replayed], cases.FIRST, 10)
    plan = cases.triton.use_of(plain).plan
    plan.begin(plain, cases.FIRST)
    for _ in range(10):
        plan.step(plain.crops.source)
    plain.assign(plan.run)
    assert torch.equal(plan.history[:10], losses[0])
    cases.same_bits(off_gpu(plain), off_gpu(replayed))
    pieces = [
        cases.triton.train_steps([parts], cases.FIRST + first, count) for first, count in ((0, 1), (1, 6), (7, 3))
    ]
    assert torch.equal(torch.cat(pieces, dim=1), losses)
    cases.same_bits(off_gpu(parts), off_gpu(replayed))


@pytest.mark.gpu
def test_ten_steps_agree_with_the_reference(cases):
    problem = cases.Problem(*LARGE["the paper's model"])
    run = on_gpu(problem.run())
    losses = cases.triton.train_steps([run], cases.FIRST, 10)
    cases.agree("losses", losses[0].cpu(), np.array(problem.truth(10)[1]), 1e-4)


BACKENDS = pytest.mark.parametrize("backend", [cuda, "triton"], ids=["cuda", "triton"])


@pytest.mark.gpu
@BACKENDS
def test_steps_run_on_the_current_stream(cases, backend):
    """The side stream gets the weights late: on another stream they would be read before."""
    backend = cases.triton if backend == "triton" else backend
    run = on_gpu(cases.Problem(*LARGE["nothing divides"]).run())
    late = run.copy()
    late.w_enc.fill_(float("nan"))
    expected = backend.train_steps([run.copy()], cases.FIRST, 6)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)  # cycles: about 0.1 s
        late.w_enc.copy_(run.w_enc)
        losses = backend.train_steps([late], cases.FIRST, 6)
    side.synchronize()
    assert torch.equal(losses, expected)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="PyTorch sees no second CUDA device")
@BACKENDS
def test_steps_run_on_the_device_of_the_run(cases, backend):
    """On a second device too, after a graph was captured on the first."""
    backend = cases.triton if backend == "triton" else backend
    problem = cases.Problem(*LARGE["nothing divides"])
    first, second = (on_gpu(problem.run(), device=f"cuda:{index}") for index in (0, 1))
    with torch.cuda.device(0):
        losses = [backend.train_steps([run], cases.FIRST, 6).cpu() for run in (first, second)]
        assert torch.cuda.current_device() == 0
    assert torch.equal(*losses)
    cases.same_bits(off_gpu(first), off_gpu(second))


@pytest.mark.gpu
def test_no_batch_is_built(cases):
    problem = cases.Problem(4096, 512, 32, 32, 9, 16, 0.25)
    run = on_gpu(problem.run())
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    cases.triton.train_steps([run], cases.FIRST, 3)
    assert torch.cuda.max_memory_allocated() - before < 2**26  # x alone would take 2**28 bytes
