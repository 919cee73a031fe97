"""The Triton kernels in Triton's interpreter, on the CPU, against the float64 reference.

`test_triton.py` runs this file in a process of its own, because Triton reads TRITON_INTERPRET on import. A program
takes about half a millisecond, so shapes are tiny. The interpreter silently computes bfloat16 wrongly, which needs a
GPU; `triton_interpreted_tf32.py` has products in TF32.
"""

import numpy as np
import pytest
import torch
from triton.runtime import interpreter

from partae_fast.kernels import BackendUnavailable
from partae_fast.kernels._triton import common, frame_windows
from partae_fast.kernels._triton.pool import chunk_of
from partae_fast.kernels.decode import triton as decode
from partae_fast.kernels.dense import Dropout
from partae_fast.kernels.dense import triton as dense
from partae_fast.kernels.encode import triton as encode
from partae_fast.kernels.partitioned_loss import triton as partitioned_loss
from partae_fast.kernels.shapes import window_count
from partae_fast.reference import decode as decode_reference
from partae_fast.reference import encode as encode_reference
from partae_fast.reference import partitioned_loss as loss_reference

SHAPES = [  # B, N, H, K, M, P
    (1, 1, 1, 1, 1, 1),
    (1, 7, 15, 15, 3, 7),
    (2, 8, 16, 16, 9, 4),
    (1, 9, 17, 17, 4, 5),
    (1, 63, 5, 3, 9, 16),
    (1, 64, 5, 3, 9, 16),
    (1, 65, 5, 3, 9, 16),
    (2, 31, 33, 2, 5, 3),
    (3, 5, 3, 2, 2, 9),  # a pool longer than the recording
    (2, 4, 2, 3, 11, 2),  # a filter longer than the recording
    (1, 150, 2, 2, 3, 70),  # a pool longer than a tile
    (1, 9, 2, 70, 2, 1),  # more latents than a tile, and no pooling
    (1, 12, 130, 2, 2, 6),  # more bins than a tile
]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Fill new tensors with NaN or an impossible position, so that elements that were not written show."""
    empty, empty_like = torch.empty, torch.empty_like

    def poison(tensor):
        return tensor.fill_(float("nan") if tensor.is_floating_point() else -(2**31))

    monkeypatch.setattr(torch, "empty", lambda *size, **options: poison(empty(*size, **options)))
    monkeypatch.setattr(torch, "empty_like", lambda *like, **options: poison(empty_like(*like, **options)))


@pytest.fixture(autouse=True)
def in_bounds(monkeypatch):
    """Check that every address of a load or store is in a tensor that the launch got."""
    bounds = []
    launch = common.launch

    def bounded_launch(kernel, programs, /, **arguments):
        bounds[:] = [
            (t.untyped_storage().data_ptr(), t.untyped_storage().data_ptr() + t.untyped_storage().nbytes())
            for t in arguments.values()
            if isinstance(t, torch.Tensor)
        ]
        launch(kernel, programs, **arguments)

    def bounded(access):
        def check(self, pointers, *rest):
            mask = rest[1] if access.__name__ == "create_masked_store" else rest[0]
            addresses = pointers.data[mask.data.astype(bool)].astype(np.int64)
            inside = np.zeros(addresses.shape, dtype=bool)
            for low, high in bounds:
                inside |= (addresses >= low) & (addresses < high)
            assert inside.all(), f"{access.__name__} at an address outside every tensor of the launch"
            return access(self, pointers, *rest)

        return check

    for module in (frame_windows, encode, decode, dense, partitioned_loss, common):
        monkeypatch.setattr(module, "launch", bounded_launch)
    for name in ("create_masked_load", "create_masked_store"):
        access = getattr(interpreter.InterpreterBuilder, name)
        monkeypatch.setattr(interpreter.InterpreterBuilder, name, bounded(access))


class Case:
    """Inputs of every pass in one shape, float32; the shape determines the numbers."""

    def __init__(self, batch, frames, bins, latents, taps, pool):
        rng = np.random.default_rng((batch, frames, bins, latents, taps, pool))
        self.frames, self.pool = frames, pool
        self.x = rng.random((batch, frames, bins), dtype=np.float32)
        self.mean = rng.random(bins, dtype=np.float32)
        self.std = 0.5 + rng.random(bins, dtype=np.float32)
        self.w_enc = rng.standard_normal((taps, bins, latents), dtype=np.float32)
        self.w_dec = rng.standard_normal((taps, latents, bins), dtype=np.float32)
        self.values, self.positions = encode_reference.encode(self.x, self.w_enc, pool, self.mean, self.std)
        self.values = self.values.astype(np.float32)
        self.grad_values = rng.standard_normal(self.values.shape, dtype=np.float32)
        self.grad_reconstruction = rng.standard_normal(self.x.shape, dtype=np.float32)
        self.noise_only = (np.arange(batch) % 2 == 0).astype(np.float32)
        self.foreground = (np.arange(latents) % 4 != 1).astype(np.float32)

    def encode(self, **changes):
        arguments = {name: getattr(self, name) for name in ("x", "w_enc", "pool", "mean", "std")} | changes
        return encode.encode(*map(tensor, arguments.values()))

    def encode_backward(self, need_x=True, need_w=True, negative_slope=0.0, **changes):
        names = ("grad_values", "x", "w_enc", "values", "positions", "pool", "mean", "std")
        arguments = {name: getattr(self, name) for name in names} | changes
        return encode.encode_backward(*map(tensor, arguments.values()), need_x, need_w, negative_slope)

    def decode(self, **changes):
        arguments = {name: getattr(self, name) for name in ("values", "positions", "w_dec", "frames")} | changes
        return decode.decode(*map(tensor, arguments.values()))

    def decode_backward(self, need_values=True, need_w=True, **changes):
        arguments = {
            name: getattr(self, name) for name in ("grad_reconstruction", "values", "positions", "w_dec")
        } | changes
        return decode.decode_backward(*map(tensor, arguments.values()), need_values, need_w)

    def partitioned_loss(self, penalty=0.75, **changes):
        arguments = {
            "reconstruction": self.grad_reconstruction,
            "target": self.x,
            "values": self.values,
            "noise_only": self.noise_only,
            "foreground": self.foreground,
        } | changes
        return partitioned_loss.partitioned_loss(*map(tensor, arguments.values()), penalty)


def tensor(value):
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def agree(name, result, expected, tolerance=1e-5):
    """Check that the relative RMS error is at most `tolerance`; a value that is not finite fails."""
    result = result.double().numpy()
    assert result.shape == np.shape(expected), name
    assert np.isfinite(result).all(), f"{name} has values that are not finite"
    error = np.sqrt(np.mean((result - expected) ** 2))
    scale = np.sqrt(np.mean(np.square(expected)))
    assert error <= tolerance * scale, f"{name}: RMS error {error:.3g}, of {scale:.3g}"


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    return Case(*request.param)


# Without normalisation the kernels differ in one place, which two shapes with several tiles are enough for.
every_normalisation = pytest.mark.parametrize(
    ("shape", "normalised"),
    [*((shape, True) for shape in SHAPES), *((shape, False) for shape in SHAPES[3:5])],
    ids=str,
)


@every_normalisation
def test_encode(shape, normalised):
    case = Case(*shape)
    mean, std = (case.mean, case.std) if normalised else (None, None)
    values, positions = case.encode(mean=mean, std=std)
    expected_values, expected_positions = encode_reference.encode(case.x, case.w_enc, case.pool, mean, std)
    agree("values", values, expected_values)
    assert values.dtype == torch.float32
    assert positions.dtype == torch.int32
    np.testing.assert_array_equal(positions.numpy(), expected_positions)


@every_normalisation
def test_encode_backward(shape, normalised):
    case = Case(*shape)
    mean, std = (case.mean, case.std) if normalised else (None, None)
    grad_x, grad_w = case.encode_backward(mean=mean, std=std)
    wanted_x, wanted_w = encode_reference.encode_backward(
        case.grad_values, case.x, case.w_enc, case.values, case.positions, case.pool, mean, std
    )
    agree("grad_x", grad_x, wanted_x)
    agree("grad_w_enc", grad_w, wanted_w)


@pytest.mark.parametrize("shape", SHAPES[2:4] + SHAPES[8:11], ids=str)
def test_encode_with_a_negative_slope(shape):
    """Every second latent is below 0 at all frames."""
    case, negative_slope = Case(*shape), 0.25
    case.mean[:] = 0
    case.w_enc[:, :, ::2] = -np.abs(case.w_enc[:, :, ::2])
    arguments = case.x, case.w_enc, case.pool, case.mean, case.std, negative_slope
    values, positions = case.encode(negative_slope=negative_slope)
    expected_values, expected_positions = encode_reference.encode(*arguments)
    assert (expected_values < 0).any()
    agree("values", values, expected_values)
    np.testing.assert_array_equal(positions.numpy(), expected_positions)
    grads = case.encode_backward(values=values, positions=positions, negative_slope=negative_slope)
    expected = encode_reference.encode_backward(
        case.grad_values, case.x, case.w_enc, expected_values, expected_positions, *arguments[2:]
    )
    for name, results, truth in zip(("grad_x", "grad_w_enc"), grads, expected, strict=True):
        agree(name, results, truth)


def test_ties_and_nan_with_a_negative_slope():
    case = Case(2, 8, 3, 2, 3, 4)
    case.x[0], case.w_enc[:] = 1.0, -1.0
    case.x[1, 2, 1] = np.nan
    values, positions = case.encode(mean=None, std=None, negative_slope=0.5)
    inner, edge = -9 * 0.5, -6 * 0.5  # the filter reaches beyond the ends
    assert values[0].tolist() == [[edge] * 2] * 2 and positions[0].tolist() == [[0] * 2, [7] * 2] and inner < edge
    assert values[1, 0].isnan().all() and positions[1, 0].tolist() == [1, 1] and not values[1, 1].isnan().any()


def test_decode(case):
    expected = decode_reference.decode(case.values, case.positions, case.w_dec, case.frames)
    agree("reconstruction", case.decode(), expected)


def test_decode_backward(case):
    grad_values, grad_w = case.decode_backward()
    expected_values, wanted_w = decode_reference.decode_backward(
        case.grad_reconstruction, case.values, case.positions, case.w_dec
    )
    agree("grad_values", grad_values, expected_values)
    agree("grad_w_dec", grad_w, wanted_w)


def test_partitioned_loss(case):
    loss, grad_reconstruction, grad_values = case.partitioned_loss()
    expected = loss_reference.partitioned_loss(
        case.grad_reconstruction, case.x, case.values, case.noise_only, case.foreground, 0.75
    )
    agree("loss", loss, expected[0])
    agree("grad_reconstruction", grad_reconstruction, expected[1])
    agree("grad_values", grad_values, expected[2])
    assert loss.shape == () and loss.dtype == torch.float32


SMALL = Case(2, 21, 5, 6, 4, 4)


@pytest.mark.parametrize("y", [0.0, 1.0])
@pytest.mark.parametrize("c", [0.0, 1.0])
def test_partitioned_loss_with_all_or_none_noise_only_and_foreground(y, c):
    noise_only, foreground = np.full(2, y, np.float32), np.full(6, c, np.float32)
    results = SMALL.partitioned_loss(noise_only=noise_only, foreground=foreground)
    expected = loss_reference.partitioned_loss(
        SMALL.grad_reconstruction, SMALL.x, SMALL.values, noise_only, foreground, 0.75
    )
    for name, result, true in zip(("loss", "grad_reconstruction", "grad_values"), results, expected, strict=True):
        agree(name, result, true)


def test_partitioned_loss_in_several_steps_of_a_program(monkeypatch):
    monkeypatch.setattr(partitioned_loss, "PASS_PARTS_MAX", 2)
    case = Case(2, 1100, 5, 2, 1, 50)
    expected = loss_reference.partitioned_loss(
        case.grad_reconstruction, case.x, case.values, case.noise_only, case.foreground, 0.75
    )
    for result, true in zip(case.partitioned_loss(), expected, strict=True):
        agree("loss or gradient", result, true)


def test_windows_without_a_positive_value():
    values, positions = SMALL.encode(w_enc=-np.abs(SMALL.w_enc), mean=None, std=None)
    assert (values == 0).all()
    windows = window_count(SMALL.frames, SMALL.pool)
    assert (positions == torch.arange(0, windows * SMALL.pool, SMALL.pool)[None, :, None]).all()
    grad_x, grad_w = SMALL.encode_backward(values=values, positions=positions)
    assert (grad_x == 0).all()
    assert (grad_w == 0).all()


@pytest.mark.parametrize("pool", [4, 70])
def test_the_first_of_equal_maxima_wins(pool):
    x = np.ones((1, 100, 2), dtype=np.float32)
    values, positions = encode.encode(torch.from_numpy(x), torch.ones(1, 2, 3), pool, None, None)
    assert (values == 2).all()
    assert (positions == torch.arange(0, 100, pool)[None, :, None]).all()


@pytest.mark.parametrize("pool", [4, 70])
def test_a_nan_makes_the_values_of_its_windows_nan(pool):
    x = np.random.default_rng(0).random((1, 100, 2), dtype=np.float32)
    x[0, 42, 1] = np.nan
    w_enc = np.random.default_rng(1).standard_normal((3, 2, 3), dtype=np.float32)
    values, positions = encode.encode(torch.from_numpy(x), torch.from_numpy(w_enc), pool, None, None)
    expected, expected_positions = encode_reference.encode(x, w_enc, pool)
    np.testing.assert_array_equal(values.isnan().numpy(), np.isnan(expected))
    assert np.isnan(expected).any() and not np.isnan(expected).all()
    np.testing.assert_array_equal(positions, expected_positions)


def strided(values):
    """Return the same numbers in strided memory."""
    wide = torch.full((*values.shape[:-1], 2 * values.shape[-1]), float("nan"))
    if values.dtype != np.float32:
        wide = wide.nan_to_num(-1).to(torch.from_numpy(values).dtype)
    wide[..., ::2] = torch.from_numpy(values)
    return wide[..., ::2]


def passes(case, **changes):
    """Return every output of every pass, by name; `changes` replace inputs."""

    def only(*names):
        return {name: changes[name] for name in names if name in changes}

    shared = only("values", "positions")
    outputs = dict(zip(("values", "positions"), case.encode(**only("x", "w_enc", "mean", "std")), strict=True))
    backward = case.encode_backward(**only("grad_values", "x", "w_enc", "mean", "std"), **shared)
    outputs |= dict(zip(("grad_x", "grad_w_enc"), backward, strict=True))
    outputs["reconstruction"] = case.decode(**only("w_dec"), **shared)
    backward = case.decode_backward(**only("grad_reconstruction", "w_dec"), **shared)
    outputs |= dict(zip(("grad_values", "grad_w_dec"), backward, strict=True))
    losses = case.partitioned_loss(**only("values", "noise_only", "foreground"))
    return outputs | dict(zip(("loss", "loss_grad_r", "loss_grad_values"), losses, strict=True))


INPUTS = (
    *("x", "w_enc", "w_dec", "mean", "std", "values", "positions", "grad_values", "grad_reconstruction"),
    *("noise_only", "foreground"),
)


def test_inputs_need_not_be_contiguous():
    plain = passes(SMALL)
    gaps = passes(SMALL, **{name: strided(getattr(SMALL, name)) for name in INPUTS})
    for name in plain:
        assert torch.equal(plain[name], gaps[name]), name


def test_bits_repeat():
    first, second = passes(SMALL), passes(SMALL)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_gradients_that_are_not_needed_are_none():
    full = SMALL.encode_backward()
    only_x, only_w = SMALL.encode_backward(need_w=False), SMALL.encode_backward(need_x=False)
    assert only_x[1] is None and torch.equal(only_x[0], full[0])
    assert only_w[0] is None and torch.equal(only_w[1], full[1])
    full = SMALL.decode_backward()
    only_values, only_w = SMALL.decode_backward(need_w=False), SMALL.decode_backward(need_values=False)
    assert only_values[1] is None and torch.equal(only_values[0], full[0])
    assert only_w[0] is None and torch.equal(only_w[1], full[1])


def test_float16_storage():
    half = {name: torch.from_numpy(getattr(SMALL, name)).half() for name in INPUTS if name != "positions"}
    exact = {name: value.double().numpy() for name, value in half.items()}
    x, w_enc, w_dec, values = (exact[name] for name in ("x", "w_enc", "w_dec", "values"))
    mean, std, positions = exact["mean"], exact["std"], SMALL.positions
    results = passes(SMALL, **half)
    expected = {"values": encode_reference.encode(x, w_enc, SMALL.pool, mean, std)[0]}
    expected["grad_x"], expected["grad_w_enc"] = encode_reference.encode_backward(
        exact["grad_values"], x, w_enc, values, positions, SMALL.pool, mean, std
    )
    expected["reconstruction"] = decode_reference.decode(values, positions, w_dec, SMALL.frames)
    expected["grad_values"], expected["grad_w_dec"] = decode_reference.decode_backward(
        exact["grad_reconstruction"], values, positions, w_dec
    )
    for name in expected:
        assert results[name].dtype == torch.float16, name
        agree(name, results[name], expected[name], 3e-3)


@pytest.mark.parametrize("wrong", [-(2**31), 3, 8, 2**31 - 1])
def test_a_position_outside_its_window_gives_nan_and_touches_nothing_else(wrong):
    positions = SMALL.positions.copy()
    positions[1, 1, 2] = wrong  # window 1 is frames 4 to 7
    reconstruction = SMALL.decode(positions=positions)
    clean = SMALL.decode()
    assert reconstruction[1].isnan().any()
    assert torch.equal(reconstruction[0], clean[0])
    assert torch.equal(reconstruction[1, 16:], clean[1, 16:])
    grad_values, grad_w = SMALL.decode_backward(positions=positions)
    assert torch.equal(grad_values.isnan().nonzero(), torch.tensor([[1, 1, 2]]))
    assert grad_w[:, 2].isnan().all()
    assert not grad_w[:, [0, 1, 3, 4, 5]].isnan().any()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_value_that_is_not_finite_reaches_the_reconstruction(wrong):
    values = SMALL.values.copy()
    values[1, 1, 2] = wrong
    with np.errstate(invalid="ignore"):
        expected = decode_reference.decode(values, SMALL.positions, SMALL.w_dec, SMALL.frames)
    reconstruction = SMALL.decode(values=values)
    assert not reconstruction[~torch.from_numpy(np.isfinite(expected))].isfinite().any()
    assert reconstruction[0].isfinite().all()


def test_decode_refuses_a_count_of_windows_that_no_pool_gives():
    with pytest.raises(ValueError, match="no pool cuts 22 frames into 13 windows"):
        SMALL.decode(values=np.zeros((2, 13, 6), np.float32), positions=np.zeros((2, 13, 6), np.int32), frames=22)
    with pytest.raises(ValueError, match="no pool cuts 21 frames"):
        SMALL.decode_backward(values=np.zeros((2, 13, 6), np.float32), positions=np.zeros((2, 13, 6), np.int32))


def test_a_recording_past_32_bits_is_refused_before_anything_is_allocated():
    x = torch.zeros(1, 1, 1).expand(1, 2**30, 1)
    with pytest.raises(ValueError, match=r"frames is 1073741824 and the triton back-end takes fewer than 2\^30"):
        encode.encode(x, torch.zeros(1, 1, 1), 2**20, None, None)


def test_a_kernel_that_does_not_fit_is_reported_as_unavailable():
    def large_kernel():
        """A kernel whose tiles do not fit."""

    class TooLarge:
        fn = staticmethod(large_kernel)

        def __getitem__(self, grid):
            def run(**arguments):
                raise common.OutOfResources(300000, 232448, "shared memory")

            return run

    with pytest.raises(BackendUnavailable, match="large_kernel needs 300000 of shared memory, this GPU has 232448"):
        common.launch(TooLarge(), 1, out_ptr=torch.zeros(1))
    with pytest.raises(ValueError, match="at most 2\\^31 - 1; split the batch"):
        common.launch(TooLarge(), 2**31, out_ptr=torch.zeros(1))


@pytest.mark.parametrize("number", [6, 2**32 - 1])
def test_dense_reads_its_step_from_memory(number):
    x, weight, bias = torch.rand(3, 4), torch.rand(4, 6), torch.rand(6)

    def layer(step):
        dropout = Dropout(0.5, 2**40, step, 1)
        output = dense.dense(x, weight, bias, "leaky_relu", dropout)
        return output, dense.dense_backward(output, output, x, weight, "leaky_relu", dropout, False, False, True)[2]

    assert all(map(torch.equal, layer(number), layer(torch.tensor(number))))
    assert not torch.equal(layer(number)[0], layer(torch.tensor(number - 1))[0])


def test_partial_sums_are_counted_by_shapes():
    assert frame_windows.part_count(1, 9216) == 1
    assert frame_windows.part_count(17, 9216) == 3
    assert frame_windows.part_count(131072, 9216) == 256
    assert frame_windows.part_count(131072, 147456) == 56
    assert frame_windows.part_count(131072, 10**7) == 16


def test_weight_gradients_of_several_partial_sums():
    case = Case(2, 41, 2, 3, 4, 2)
    assert frame_windows.part_count(2 * 21, case.w_enc.size) == 6
    _, grad_w = case.encode_backward(need_x=False)
    expected = encode_reference.encode_backward(
        case.grad_values, case.x, case.w_enc, case.values, case.positions, case.pool, case.mean, case.std
    )[1]
    agree("grad_w_enc", grad_w, expected)


def test_chunks_cover_a_pool_with_little_to_spare():
    for pool in range(1, 200):
        chunk = chunk_of(pool)
        assert 64 % chunk == 0
        assert chunk * window_count(pool, chunk) <= 1.25 * pool
