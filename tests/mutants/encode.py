"""Wrong encodes and gradients of encode."""

import functools

import torch

from partae_fast.kernels.encode import cpu, eager

from . import right, wrong


@right("encode")
def the_eager_kernel(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x, w_enc, pool, mean, std, negative_slope)


@right("encode")
def without_negative_slope(x, w_enc, pool, mean, std):
    return eager.encode(x, w_enc, pool, mean, std)


@right("encode")
def by_unfolding(x, w_enc, pool, mean, std, negative_slope=0.0):
    """Compute encode as a matrix product over unfolded frames, then a maximum over windows."""
    taps, bins, latents = w_enc.shape
    wide = torch.promote_types(x.dtype, torch.float32)
    xn = x.to(wide) if mean is None else (x.to(wide) - mean.to(wide)) / std.to(wide)
    after = (taps - 1) // 2
    padded = torch.nn.functional.pad(xn, (0, 0, taps - 1 - after, after))
    frames = padded.unfold(1, taps, 1).permute(0, 1, 3, 2).reshape(*x.shape[:2], taps * bins)
    z = frames @ w_enc.to(wide).flip(0).reshape(taps * bins, latents)
    a = z if negative_slope else z.relu()
    a = torch.nn.functional.pad(a, (0, 0, 0, -x.shape[1] % pool), value=-torch.inf)
    values, places = a.view(x.shape[0], -1, pool, latents).max(2)
    positions = places + pool * torch.arange(values.shape[1])[None, :, None]
    values = torch.where(values > 0, values, negative_slope * values) if negative_slope else values
    return values.to(x.dtype), positions.int()


# Inputs and the memory of results


@wrong("encode")
def zeroes_x(x, w_enc, pool, mean, std, negative_slope=0.0):
    result = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    x.zero_()
    return result


@wrong("encode")
def normalises_x_in_place(x, w_enc, pool, mean, std, negative_slope=0.0):
    if mean is None:
        return eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return eager.encode(x.sub_(mean).div_(std), w_enc, pool, None, None, negative_slope)


@wrong("encode")
def replaces_nan_in_x(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x.nan_to_num_(0.0), w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def clamps_the_filters(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x, w_enc.clamp_(-1.0, 1.0), pool, mean, std, negative_slope)


@wrong("encode")
def sorts_the_mean(x, w_enc, pool, mean, std, negative_slope=0.0):
    result = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    if mean is not None:
        mean.copy_(mean.sort().values)
    return result


_buffers = {}


@wrong("encode")
def reuses_its_output(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    key = values.shape, values.dtype
    if key not in _buffers:
        _buffers[key] = torch.empty_like(values)
    return _buffers[key].copy_(values), positions


_by_shape = {}


@wrong("encode")
def remembers_by_shape(x, w_enc, pool, mean, std, negative_slope=0.0):
    key = tuple(x.shape), tuple(w_enc.shape), pool, x.dtype, negative_slope
    if key not in _by_shape:
        _by_shape[key] = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return tuple(part.clone() for part in _by_shape[key])


_by_address = {}


@wrong("encode")
def remembers_filters_by_address(x, w_enc, pool, mean, std, negative_slope=0.0):
    key = w_enc.data_ptr(), w_enc.shape, w_enc.dtype
    filters = _by_address.setdefault(key, w_enc.clone())
    return eager.encode(x, filters, pool, mean, std, negative_slope)


@wrong("encode")
def carries_a_graph(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x, w_enc.clone().requires_grad_(), pool, mean, std, negative_slope)


@wrong("encode")
def returns_a_transposed_view(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return values.transpose(1, 2).contiguous().transpose(1, 2), positions


@wrong("encode")
def assumes_contiguous_x(x, w_enc, pool, mean, std, negative_slope=0.0):
    flat = x if x.is_contiguous() else x.as_strided(x.shape, torch.empty(x.shape, device="meta").stride())
    return eager.encode(flat.nan_to_num(), w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def assumes_contiguous_std(x, w_enc, pool, mean, std, negative_slope=0.0):
    if std is not None and not std.is_contiguous():
        std = std.as_strided(std.shape, (1,)).nan_to_num(1.0)
    return eager.encode(x, w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def reads_from_the_start_of_the_storage(x, w_enc, pool, mean, std, negative_slope=0.0):
    if mean is not None and mean.is_contiguous():
        mean = mean.as_strided(mean.shape, mean.stride(), 0).nan_to_num(0.0)
    return eager.encode(x, w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def seeds_the_generator(x, w_enc, pool, mean, std, negative_slope=0.0):
    torch.manual_seed(0)
    return eager.encode(x, w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def changes_threads_and_default_type(x, w_enc, pool, mean, std, negative_slope=0.0):
    torch.set_default_dtype(torch.float64)
    try:
        return eager.encode(x, w_enc, pool, mean, std, negative_slope)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(torch.get_num_threads() % 2 + 1)


# Sizes


def _wrong_where(condition):
    """Register an encode that is wrong by a factor if condition(x, w_enc, pool) holds."""

    def mutant(x, w_enc, pool, mean, std, negative_slope=0.0):
        values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
        return values * 1.01 if condition(x, w_enc, pool) else values, positions

    return mutant


_SIZES = {
    "above_129_bins": lambda x, w, p: x.shape[2] > 129,
    "above_512_bins": lambda x, w, p: x.shape[2] > 512,
    "above_65_latents": lambda x, w, p: w.shape[2] > 65,
    "above_256_latents": lambda x, w, p: w.shape[2] > 256,
    "above_33_taps": lambda x, w, p: w.shape[0] > 33,
    "above_64_taps": lambda x, w, p: w.shape[0] > 64,
    "above_4099_frames": lambda x, w, p: x.shape[1] > 4099,
    "above_16384_frames": lambda x, w, p: x.shape[1] > 16384,
    "above_67_items": lambda x, w, p: x.shape[0] > 67,
    "above_512_items": lambda x, w, p: x.shape[0] > 512,
    "above_65536_numbers": lambda x, w, p: x.numel() > 65536,
    "above_2_to_the_22_numbers": lambda x, w, p: x.numel() > 2**22,
    "above_1000_frames_a_window": lambda x, w, p: p > 1000,
    "frames_and_latents": lambda x, w, p: x.shape[1] > 4099 and w.shape[2] > 65,
    "frames_and_bins": lambda x, w, p: x.shape[1] > 4099 and x.shape[2] > 129,
    "bins_and_latents": lambda x, w, p: x.shape[2] > 128 and w.shape[2] > 64,
    "latents_and_taps": lambda x, w, p: w.shape[2] > 64 and w.shape[0] > 16,
    "items_and_frames": lambda x, w, p: x.shape[0] > 64 and x.shape[1] > 1024,
    "items_and_bins": lambda x, w, p: x.shape[0] > 100 and x.shape[2] > 200,
    "bins_and_a_long_window": lambda x, w, p: x.shape[2] > 200 and p > 500,
    "three_sizes": lambda x, w, p: x.shape[2] > 8 and w.shape[2] > 8 and w.shape[0] > 8 and w.shape[0] % 2 == 0,
}
for _name, _condition in _SIZES.items():
    _mutant = _wrong_where(_condition)
    _mutant.__name__ = f"wrong_for_{_name}"
    wrong("encode")(_mutant)


# Numbers


@wrong("encode")
def clamps_x_to_one(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x.clamp(max=1.0), w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def takes_magnitudes_of_x(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x.abs(), w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def turns_infinity_into_the_largest_number(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return values.clamp(max=torch.finfo(values.dtype).max), positions


@wrong("encode")
def drops_values_below_1e_20(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return torch.where(values.abs() < 1e-20, 0.0 * values, values), positions


@wrong("encode")
def overflows_at_1e20(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return torch.where(values > 1e20, torch.inf, values).to(values.dtype), positions


@wrong("encode")
def floors_std_at_a_hundredth(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x, w_enc, pool, mean, None if std is None else std.clamp(min=0.01), negative_slope)


@wrong("encode")
def caps_std_at_200(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x, w_enc, pool, mean, None if std is None else std.clamp(max=200.0), negative_slope)


@wrong("encode")
def adds_epsilon_to_std(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x, w_enc, pool, mean, None if std is None else std + 1e-6, negative_slope)


@wrong("encode")
def drops_nan(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return values.nan_to_num(0.0), positions


@wrong("encode")
def puts_nan_at_the_first_frame(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    first = pool * torch.arange(values.shape[1], dtype=torch.int32)[None, :, None]
    return values, torch.where(values.isnan(), first, positions)


@wrong("encode")
def sums_float64_in_float32(x, w_enc, pool, mean, std, negative_slope=0.0):
    parts = [None if part is None else part.float() for part in (x, w_enc, mean, std)]
    values, positions = eager.encode(parts[0], parts[1], pool, parts[2], parts[3], negative_slope)
    return values.to(x.dtype), positions


@wrong("encode")
def sums_half_types_in_themselves(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    if x.dtype in (torch.bfloat16, torch.float16):
        values = (values.float() * 1.05).to(x.dtype)
    return values, positions


@wrong("encode")
def swallows_the_negative_slope(x, w_enc, pool, mean, std, **settings):
    return eager.encode(x, w_enc, pool, mean, std)


@wrong("encode")
def takes_a_negative_slope_of_a_tenth(x, w_enc, pool, mean, std, negative_slope=0.0):
    return eager.encode(x, w_enc, pool, mean, std, 0.1 if negative_slope else 0.0)


@wrong("encode")
def takes_the_last_of_ties(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    last = (pool * torch.arange(1, values.shape[1] + 1) - 1).clamp(max=x.shape[1] - 1).int()[None, :, None]
    return values, torch.where(values == 0, last, positions)


@wrong("encode")
def positions_of_zeros(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return values, torch.zeros_like(positions)


@wrong("encode")
def shifts_an_even_filter(x, w_enc, pool, mean, std, negative_slope=0.0):
    if w_enc.shape[0] % 2 == 0:
        w_enc = torch.cat([w_enc[1:], torch.zeros_like(w_enc[:1])])
    return eager.encode(x, w_enc, pool, mean, std, negative_slope)


@wrong("encode")
def pads_with_zeros_before_normalising(x, w_enc, pool, mean, std, negative_slope=0.0):
    if mean is None:
        return eager.encode(x, w_enc, pool, mean, std, negative_slope)
    taps = w_enc.shape[0]
    padded = torch.nn.functional.pad(x, (0, 0, taps, taps))
    values, _ = eager.encode(padded, w_enc, 1, mean, std, negative_slope)
    values, frames = values[:, taps:-taps], x.shape[1]
    lost = -frames % pool
    values = torch.nn.functional.pad(values, (0, 0, 0, lost), value=-torch.inf).view(len(x), -1, pool, w_enc.shape[2])
    best, place = values.max(2)
    return best, (place + pool * torch.arange(best.shape[1])[None, :, None]).int()


@wrong("encode")
def forgets_the_last_element(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    out = torch.empty_like(values)
    out.view(-1)[:-1] = values.view(-1)[:-1]
    return out, positions


@wrong("encode")
def halves_the_short_last_window(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    if x.shape[1] % pool:
        values[:, -1] /= 2
    return values, positions


# Many calls


class _Rarely:
    """True in one call of 5000."""

    def __init__(self) -> None:
        self.calls = 0

    def __bool__(self) -> bool:
        self.calls += 1
        return self.calls % 5000 == 0


_rarely = _Rarely()


@wrong("encode")
def is_wrong_once_in_5000_calls(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return values * (1.001 if _rarely else 1.0), positions


_big_calls = 0


@wrong("encode")
def is_wrong_in_one_of_20_large_calls(x, w_enc, pool, mean, std, negative_slope=0.0):
    global _big_calls
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    _big_calls += x.numel() > 1000
    return values * (1.001 if _big_calls % 20 == 19 and x.numel() > 1000 else 1.0), positions


_scratch = {}


@wrong("encode")
def shares_scratch_among_threads(x, w_enc, pool, mean, std, negative_slope=0.0):
    key = tuple(x.shape), x.dtype
    scratch = _scratch.setdefault(key, torch.empty(x.shape, dtype=x.dtype))
    scratch.copy_(x)
    values, positions = eager.encode(scratch, w_enc, pool, mean, std, negative_slope)
    return values, positions


@wrong("encode")
def other_bits_each_time(x, w_enc, pool, mean, std, negative_slope=0.0):
    values, positions = eager.encode(x, w_enc, pool, mean, std, negative_slope)
    return values * (1 + 1e-7 * (id(values) // 16 % 7)), positions


# Gradients


@right("encode_backward")
def the_cpu_kernel_or_eager(*arguments, **settings):
    single = arguments[0].dtype in (torch.float32, torch.float64)
    return (cpu if single else eager).encode_backward(*arguments, **settings)


def _backward(function):
    """Register a function of (gradients, arguments) -> gradients as a wrong encode_backward."""

    @functools.wraps(function)
    def mutant(*arguments, **settings):
        return function(eager.encode_backward(*arguments, **settings), arguments)

    return wrong("encode_backward")(mutant)


@wrong("encode_backward")
def overwrites_the_gradient(grad_values, *arguments, **settings):
    result = eager.encode_backward(grad_values, *arguments, **settings)
    if 0 not in grad_values.stride():
        grad_values.zero_()
    return result


@wrong("encode_backward")
def assumes_a_contiguous_gradient(grad_values, *arguments, **settings):
    if 0 in grad_values.stride():
        grad_values = torch.cat([grad_values[:1] * 0, grad_values[1:]])
    return eager.encode_backward(grad_values, *arguments, **settings)


@wrong("encode_backward")
def drops_nan_of_the_gradient(grad_values, *arguments, **settings):
    return eager.encode_backward(grad_values.nan_to_num(0.0), *arguments, **settings)


@wrong("encode_backward")
def drops_nan_of_x(grad_values, x, *arguments, **settings):
    return eager.encode_backward(grad_values, x.nan_to_num(0.0), *arguments, **settings)


@_backward
def drops_nan_of_both_gradients(gradients, arguments):
    return tuple(None if g is None else g.nan_to_num(0.0) for g in gradients)


@_backward
def makes_every_gradient_finite(gradients, arguments):
    return tuple(None if g is None else g.nan_to_num(nan=torch.nan) for g in gradients)


@_backward
def forgets_std_in_the_gradient_of_x(gradients, arguments):
    grad_x, grad_w = gradients
    return grad_x if grad_x is None or arguments[7] is None else grad_x * arguments[7], grad_w


@_backward
def gives_what_nobody_asked_for(gradients, arguments):
    return eager.encode_backward(*arguments[:8], True, True)


@_backward
def forgets_the_last_tap(gradients, arguments):
    grad_x, grad_w = gradients
    if grad_w is not None:
        grad_w[-1] = 0
    return grad_x, grad_w


@wrong("encode_backward")
def passes_gradients_of_silent_windows(grad_values, x, w_enc, values, *arguments, **settings):
    return eager.encode_backward(grad_values, x, w_enc, values + 1, *arguments, **settings)


@wrong("encode_backward")
def swallows_the_negative_slope_backwards(*arguments, **settings):
    return eager.encode_backward(*arguments)


@_backward
def strides_the_gradient_of_the_filters(gradients, arguments):
    grad_x, grad_w = gradients
    return grad_x, None if grad_w is None else grad_w.permute(2, 0, 1).contiguous().permute(1, 2, 0)


@_backward
def is_wrong_above_65_latents(gradients, arguments):
    grad_x, grad_w = gradients
    large = arguments[2].shape[2] > 65
    return grad_x, grad_w * 1.01 if grad_w is not None and large else grad_w
