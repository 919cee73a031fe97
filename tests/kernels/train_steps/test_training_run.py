"""Tensors that kernels cannot read by their addresses, in any run of a population."""

from dataclasses import replace

import pytest
import torch

from partae_fast.conformance import train_steps as conformance
from partae_fast.conformance.cases import TINY
from partae_fast.kernels.train_steps import cpu, cuda
from partae_fast.kernels.train_steps.training_run import TrainingRun

H200 = cuda.Limits(90, 232448, 132, ((1, 132),))


class OnGpu:
    """A tensor that says that it is on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, tensor: torch.Tensor):
        self._tensor = tensor

    def __getattr__(self, name):
        return getattr(self._tensor, name)


def on_gpu(run: TrainingRun) -> TrainingRun:
    """Return the run as if its tensors were on a GPU."""
    state = {name: tuple(map(OnGpu, tensors)) for name, tensors in run.state.items()}
    crops = replace(run.crops, source=OnGpu(run.crops.source))
    names = "w_enc", "w_dec", "mean", "std", "foreground"
    return replace(run, state=state, crops=crops, **{name: OnGpu(getattr(run, name)) for name in names})


def some_run() -> TrainingRun:
    case = next(case for case in TINY if case.name == "primes")
    return conformance.make_run(case, torch.float32, torch.device("cpu"))


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor with another number after each number in memory."""
    return tensor.new_zeros(*tensor.shape, 2)[..., 0]


def shifted(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor 4 bytes after a multiple of 16."""
    return tensor.new_zeros(tensor.numel() + 1)[1:].view(tensor.shape)


def with_source(run: TrainingRun, change) -> TrainingRun:
    return replace(run, crops=replace(run.crops, source=change(run.crops.source)))


def with_state(run: TrainingRun, change) -> TrainingRun:
    return replace(run, state={**run.state, "w_dec": tuple(map(change, run.state["w_dec"]))})


FAULTS = {
    "float64 source": (lambda run: with_source(run, torch.Tensor.double), "not float64; convert them or use eager"),
    "strided source": (lambda run: with_source(run, strided), "the source is not contiguous in memory; copy it"),
    "shifted source": (lambda run: with_source(run, shifted), "the source does not start at a multiple of 16 bytes"),
    "float16 weight": (lambda run: replace(run, w_dec=run.w_dec.half()), "float32 state, not float16, float32; conv"),
    "strided weight": (lambda run: replace(run, w_dec=strided(run.w_dec)), "w_dec is not contiguous in memory; copy"),
    "shifted weight": (lambda run: replace(run, w_enc=shifted(run.w_enc)), "w_enc does not start at a multiple of 16"),
    "strided state": (lambda run: with_state(run, strided), "the state of w_dec is not contiguous in memory; copy it"),
    "shifted mean": (lambda run: replace(run, mean=shifted(run.mean)), "mean does not start at a multiple of 16 bytes"),
    "strided foreground": (
        lambda run: replace(run, foreground=strided(run.foreground)),
        "foreground is not contiguous",
    ),
}


@pytest.fixture(params=["cuda", "triton"])
def back_end(request, monkeypatch):
    """Return a back-end on a machine that seems to have a GPU."""
    if request.param == "triton":
        pytest.importorskip("triton")
        from partae_fast.kernels.train_steps import triton

        monkeypatch.setattr(triton, "interpreting", lambda: False)
        return triton
    monkeypatch.setattr(cuda, "installed", lambda: True)
    monkeypatch.setattr(cuda, "cupy_failure", lambda: None)
    monkeypatch.setattr(cuda, "device_limits", lambda device: H200)
    return cuda


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS)
def test_every_run_is_checked(back_end, fault, message):
    run = some_run()
    assert back_end.refusal([on_gpu(run), on_gpu(run)]) is None
    assert message in str(back_end.refusal([on_gpu(run), on_gpu(fault(run.copy()))]))


def test_bfloat16_is_for_triton(back_end):
    """In CUDA the second source would be read past its end."""
    run = some_run()
    refusal = back_end.refusal([on_gpu(run), on_gpu(with_source(run, torch.Tensor.bfloat16))])
    assert (refusal is None) == (back_end is not cuda)


def test_a_tensor_on_another_device_is_refused(back_end):
    run = some_run()
    other = on_gpu(run)
    other.mean.device = torch.device("cuda", 1)
    assert "mean is on cuda:1 and w_enc on cuda:0; move" in str(back_end.refusal([on_gpu(run), other]))


def test_every_source_is_checked_on_the_cpu():
    run = some_run()
    assert cpu.refusal([run, run]) is None
    assert "it takes float32" in str(cpu.refusal([run, with_source(run, torch.Tensor.double)]))


def test_assign_copies_weights_and_state_in_place():
    run = some_run()
    other = run.copy()
    for tensor in (other.w_enc, other.w_dec, *other.state["w_enc"], *other.state["w_dec"]):
        tensor.uniform_()
    addresses = run.w_enc.data_ptr(), run.state["w_dec"][0].data_ptr()
    run.assign(other)
    assert (run.w_enc.data_ptr(), run.state["w_dec"][0].data_ptr()) == addresses
    assert torch.equal(run.w_enc, other.w_enc) and torch.equal(run.w_dec, other.w_dec)
    for name in ("w_enc", "w_dec"):
        assert all(map(torch.equal, run.state[name], other.state[name]))
