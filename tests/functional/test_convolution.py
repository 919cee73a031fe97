"""encode, decode and partitioned_loss: registration, gradients, compilation, guards, choice of a back-end."""

import importlib
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import partae_fast as pf
from partae_fast.conformance.cases import Case
from partae_fast.conformance.tolerances import TOLERANCES
from partae_fast.conformance.verify import row
from partae_fast.kernels import OPS, implementation, registry

from .common import WITHOUT_GRADIENTS, on_cpu

CPU = torch.device("cpu")


def inputs(dtype=torch.float64, frames=21, taps=4, bins=5, latents=3, batch=2):
    """Return random tensors of every argument, which require gradients if they can have one."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype, generator=generator)

    return {
        "x": draw(batch, frames, bins).abs().requires_grad_(),
        "w_enc": draw(taps, bins, latents).requires_grad_(),
        "w_dec": draw(taps, latents, bins).requires_grad_(),
        "mean": draw(bins).abs(),
        "std": draw(bins).abs() + 0.5,
        "noise_only": torch.tensor([1.0, 0.0], dtype=dtype)[:batch],
        "foreground": torch.tensor([0.0, 1.0, 1.0], dtype=dtype),
    }


def loss_of(i, backend, **changes):
    a = {**i, **changes}
    return pf.partitioned_loss(
        a["x"], a["mean"], a["std"], a["w_enc"], a["w_dec"], a["noise_only"], a["foreground"], 0.75, 4,
        target=a.get("target"), negative_slope=a.get("negative_slope", 0.0),
        rectified_output=a.get("rectified_output", False), backend=backend,
    )  # fmt: skip


@on_cpu
def test_opcheck(backend):
    i = inputs()
    opcheck(torch.ops.partae.encode.default, (i["x"], i["w_enc"], 4, i["mean"], i["std"], 0.0, backend))
    opcheck(torch.ops.partae.encode.default, (i["x"], i["w_enc"], 4, None, None, 0.25, backend))
    values, positions = pf.encode(i["x"].detach(), i["w_enc"].detach(), 4)
    values.requires_grad_()
    opcheck(torch.ops.partae.decode.default, (values, positions, i["w_dec"], 21, backend))
    target = torch.randn_like(i["x"])
    arguments = (i["x"], target, values, i["noise_only"], i["foreground"], 0.75, backend)
    opcheck(torch.ops.partae.partitioned_loss.default, arguments, test_utils=WITHOUT_GRADIENTS)


rectifiers = pytest.mark.parametrize(
    "rectifiers",
    [{}, {"negative_slope": 1 / 3}, {"rectified_output": True}, {"negative_slope": 0.1, "rectified_output": True}],
)


@on_cpu
@rectifiers
def test_gradcheck_of_the_whole_chain(backend, rectifiers):
    i = inputs() | rectifiers

    def loss(x, w_enc, w_dec):
        return loss_of(i, backend, x=x, w_enc=w_enc, w_dec=w_dec)

    assert torch.autograd.gradcheck(loss, (i["x"], i["w_enc"], i["w_dec"]))


@on_cpu
@rectifiers
def test_gradcheck_with_a_target(backend, rectifiers):
    i = inputs() | rectifiers
    target = torch.rand_like(i["x"]).requires_grad_()

    def loss(x, target):
        return loss_of(i, backend, x=x, target=target)

    assert torch.autograd.gradcheck(loss, (i["x"], target))


@on_cpu
def test_gradcheck_of_values(backend):
    i = inputs()
    values, positions = pf.encode(i["x"].detach(), i["w_enc"].detach(), 4)
    values.requires_grad_()

    def chain(values, w_dec):
        return pf.decode(values, positions, w_dec, 21, backend=backend)

    assert torch.autograd.gradcheck(chain, (values, i["w_dec"]))


@on_cpu
def test_second_derivatives_are_refused(backend):
    i = inputs()
    (first,) = torch.autograd.grad(loss_of(i, backend), i["w_enc"], create_graph=True)
    with pytest.raises(NotImplementedError, match="encode has no second derivative"):
        torch.autograd.grad(first.sum(), i["w_enc"])


def test_frozen_parts_get_no_gradient():
    i = inputs()
    i["x"].requires_grad_(False)
    i["w_enc"].requires_grad_(False)
    loss_of(i, "cpu").backward()
    assert i["w_dec"].grad is not None
    assert i["w_enc"].grad is None


def test_compiles_without_a_break_forward_and_backward():
    model = pf.ConvPartitionedAutoencoder(bins=5, latents=3, taps=3, pool=4)
    x = torch.rand(2, 21, 5)
    noise_only = torch.tensor([1.0, 0.0])

    def loss(x):
        return pf.partitioned_loss(
            x, model.mean, model.std, model.w_enc, model.w_dec, noise_only, model.foreground, 0.75, model.pool
        )

    loss(x).backward()
    expected = model.w_enc.grad.clone()
    model.w_enc.grad = None
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    result = compiled(x)
    result.backward()
    torch.testing.assert_close(result, loss(x))
    torch.testing.assert_close(model.w_enc.grad, expected)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3), frames=st.integers(1, 150), bins=st.integers(1, 40), latents=st.integers(1, 40),
    taps=st.integers(1, 12), pool=st.integers(1, 160), normalised=st.booleans(),
    corruption=st.integers(0, 2), negative_slope=st.sampled_from([0.0, 0.1, 1 / 3]), rectified_output=st.booleans(),
)  # fmt: skip
def test_any_shape(batch, frames, bins, latents, taps, pool, normalised, **beyond):
    case = Case("any", batch, frames, bins, latents, taps, pool, normalised=normalised, **beyond)
    for op in ("encode", "decode", "partitioned_loss", "train_steps"):
        checks = importlib.import_module(f"partae_fast.conformance.{op}")
        for op_pass in OPS[op].passes:
            check = getattr(checks, op_pass)
            errors = check(case, implementation(op, "cpu"), torch.float32, CPU, TOLERANCES["float32"])
            # Ten times the tolerance: a gradient that is a single sum may nearly cancel.
            assert {name: e for name, e in errors.items() if not e <= 10 * TOLERANCES["float32"]} == {}


def test_a_window_without_a_positive_value_has_no_gradient():
    values, positions = pf.encode(torch.ones(1, 10, 2), -torch.ones(3, 2, 1), pool=4)
    assert values.flatten().tolist() == [0, 0, 0]
    assert positions.flatten().tolist() == [0, 4, 8]


def test_first_of_equal_maxima_wins():
    for backend in ("eager", "cpu"):
        _, positions = pf.encode(torch.ones(1, 12, 1), torch.ones(1, 1, 1), pool=4, backend=backend)
        assert positions.flatten().tolist() == [0, 4, 8]


def test_noise_only_may_be_of_any_type():
    i = inputs(torch.float32)
    expected = loss_of(i, "cpu")
    for label in (torch.tensor([True, False]), torch.tensor([1, 0])):
        assert loss_of(i, "cpu", noise_only=label) == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": torch.rand(21, 5)}, r"x is \(21, 5\); it must be \(B, N, H\)"),
        ({"x": torch.rand(2, 0, 5)}, r"each at least 1"),
        ({"x": torch.rand(2, 21, 6)}, "build the filters for the spectrogram's bins"),
        ({"x": torch.rand(2, 21, 5)}, "give all of one floating-point type"),
        ({"x": torch.ones(2, 21, 5, dtype=torch.int64)}, "one floating-point type"),
        ({"mean": None}, "mean is missing"),
        ({"std": torch.rand(4, dtype=torch.float64)}, r"std is \(4,\) and x has 5 bins"),
        ({"mean": torch.rand(5, dtype=torch.float64, requires_grad=True)}, r"pass mean.detach\(\)"),
        ({"w_dec": torch.rand(4, 2, 5, dtype=torch.float64)}, "must have the same latents"),
        ({"w_dec": torch.rand(4, 3, 6, dtype=torch.float64)}, "of one shape"),
        ({"noise_only": torch.ones(3)}, r"it is \(B,\)"),
        ({"foreground": torch.ones(4)}, r"it is \(K,\)"),
        ({"x": torch.rand(2, 21, 5, dtype=torch.float64, device="meta")}, "move all tensors to one"),
    ],
)
def test_guards(change, says):
    with pytest.raises(ValueError, match=says) as caught:
        loss_of(inputs(), "cpu", **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frames": 0}, "at least 1"),
        ({"frames": 5}, "no pool cuts 5 frames into 6 windows"),
        ({"positions": torch.zeros(2, 6, 3)}, "positions int32"),
        (
            {"positions": torch.zeros(2, 6, 3, dtype=torch.int32)},
            r"positions\[:, 1\] hold frames 0 to 0, .* can only hold 4 to 7",
        ),
        ({"positions": torch.full((2, 6, 3), 999, dtype=torch.int32)}, "can only hold"),
        ({"positions": torch.full((2, 6, 3), -1, dtype=torch.int32)}, "can only hold"),
    ],
)
@on_cpu
def test_guards_of_decode(change, says, backend):
    values, positions = pf.encode(torch.rand(2, 21, 5), torch.rand(4, 5, 3), 4)
    arguments = {"values": values, "positions": positions, "w_dec": torch.rand(4, 3, 5), "frames": 21, **change}
    with pytest.raises(ValueError, match=says):
        pf.decode(**arguments, backend=backend)


@on_cpu
def test_a_negative_slope_shows_what_is_largest_below_zero(backend):
    x = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0, 5.0])[None, :, None]
    values, positions = pf.encode(x, -torch.ones(1, 1, 1), pool=4, negative_slope=0.5, backend=backend)
    assert values.flatten().tolist() == [-0.5, 0.0]
    assert positions.flatten().tolist() == [1, 4]


@pytest.mark.parametrize("negative_slope", [-0.1, 1.0, float("nan")])
def test_a_negative_slope_out_of_range_is_refused(negative_slope):
    with pytest.raises(
        ValueError, match=f"negative_slope is {negative_slope}; it must be from 0 up to, not including, 1"
    ):
        pf.encode(torch.rand(1, 4, 2), torch.rand(1, 2, 1), pool=2, negative_slope=negative_slope)


def test_positional_arguments_have_kept_their_order():
    i = inputs()
    with pytest.raises(ValueError, match="backend 'none' is not known"):
        pf.encode(i["x"], i["w_enc"], 4, i["mean"], i["std"], "none")
    arguments = [i[name] for name in ("x", "mean", "std", "w_enc", "w_dec", "noise_only", "foreground")]
    with pytest.raises(ValueError, match="backend 'none' is not known"):
        pf.partitioned_loss(*arguments, 0.75, 4, None, "none")


def test_pool_must_be_positive():
    with pytest.raises(ValueError, match="pool is 0"):
        pf.encode(torch.rand(1, 4, 2), torch.rand(1, 2, 1), pool=0)


def test_every_backend_has_a_reason():
    assert list(pf.backends()) == ["reference", "eager", "cpu", "triton", "cuda"]
    assert all(b.reason for b in pf.backends().values())
    assert pf.backends()["cpu"].available


def encode_on(backend, dtype=torch.float32):
    return pf.encode(torch.rand(1, 8, 2, dtype=dtype), torch.rand(3, 2, 2, dtype=dtype), 4, backend=backend)


def test_an_unavailable_backend_says_why_and_what_to_do():
    with pytest.raises(pf.BackendUnavailable, match="convert the input or use eager"):
        encode_on("cpu", torch.float16)
    with pytest.raises(pf.BackendUnavailable, match="it has eager, cpu, cuda, triton"):
        encode_on("reference")
    with pytest.raises(ValueError, match="choose auto or one of"):
        encode_on("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_triton_without_a_gpu_says_so():
    pytest.importorskip("triton")
    with pytest.raises(pf.BackendUnavailable, match="sees no CUDA device"):
        encode_on("triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_says_so():
    with pytest.raises(pf.BackendUnavailable, match=r"sees no CUDA device|cupy is not installed; pip install"):
        encode_on("cuda")


def test_auto_prefers_triton_to_cuda_for_single_ops(monkeypatch):
    """No GPU has compared the two."""
    monkeypatch.setattr(registry, "backends", lambda: dict.fromkeys(pf.backends(), pf.Backend(True, "")))
    for op in ("encode", "decode", "partitioned_loss"):
        assert registry.resolve(op, "auto", torch.device("cuda", 7), torch.float32) == "triton"


def test_auto_logs_its_choice_once(caplog):
    registry._fastest.cache_clear()
    registry._log_once.cache_clear()
    with caplog.at_level(logging.INFO, logger="partae_fast"):
        encode_on("auto")
        encode_on("auto")
    (record,) = caplog.records
    assert record.getMessage().endswith("back-end cpu")  # without the reasons against back-ends for GPUs
    encode_on("auto", torch.float16)  # the CPU kernels do not take float16, and eager does
    assert registry.resolve("encode", "auto", CPU, torch.float16) == "eager"


def test_auto_without_numba(monkeypatch):
    monkeypatch.setattr(registry, "backends", lambda: {**pf.backends(), "cpu": pf.Backend(False, "no numba")})
    registry._fastest.cache_clear()
    assert registry.resolve("encode", "auto", CPU, torch.float32) == "eager"
    with pytest.raises(pf.BackendUnavailable, match="no numba"):
        registry.resolve("encode", "cpu", CPU, torch.float32)
    registry._fastest.cache_clear()


def test_rows_count_their_cases():
    checked = row("encode", "encode", "eager", implementation("encode", "eager"), "float64", CPU)
    assert checked.passed
    assert checked.cases > 50
