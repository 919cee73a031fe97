"""Wrong decodes and gradients of decode."""

import torch

from partae_fast.kernels.decode import cpu, eager

from . import right, wrong


@right("decode")
def the_cpu_kernel_or_eager(values, positions, w_dec, frames):
    single = values.dtype in (torch.float32, torch.float64)
    return (cpu if single else eager).decode(values, positions, w_dec, frames)


@right("decode")
def decode_of_any_arguments(*arguments):
    return eager.decode(*arguments)


@wrong("decode")
def takes_any_position(values, positions, w_dec, frames):
    windows = torch.arange(values.shape[1])[None, :, None]
    pool = -(-frames // values.shape[1])
    inside = positions.clamp(min=0).clamp(max=frames - 1)
    inside = torch.where(positions == inside, inside, (windows * pool).clamp(max=frames - 1).int())
    wide = torch.promote_types(values.dtype, torch.float32)
    u = torch.zeros(values.shape[0], frames, values.shape[2], dtype=wide).scatter_add_(
        1, inside.long(), values.to(wide)
    )
    taps = w_dec.shape[0]
    padded = torch.nn.functional.pad(u, (0, 0, taps - 1 - taps // 2, taps // 2))
    out = sum(padded[:, taps - 1 - m : taps - 1 - m + frames] @ w_dec[m].to(wide) for m in range(taps))
    return out.to(values.dtype)


@wrong("decode")
def drops_values_below_1e_7(values, positions, w_dec, frames):
    return eager.decode(torch.where(values.abs() < 1e-7, 0.0 * values, values), positions, w_dec, frames)


@wrong("decode")
def drops_negative_values(values, positions, w_dec, frames):
    return eager.decode(values.clamp(min=0.0), positions, w_dec, frames)


@wrong("decode")
def caps_values_at_1e4(values, positions, w_dec, frames):
    return eager.decode(values.clamp(max=1e4), positions, w_dec, frames)


@wrong("decode")
def drops_nan_of_values(values, positions, w_dec, frames):
    return eager.decode(torch.where(values.isnan(), 0.0, values).to(values.dtype), positions, w_dec, frames)


@wrong("decode")
def drops_nan_of_filters(values, positions, w_dec, frames):
    return eager.decode(values, positions, torch.where(w_dec.isnan(), 0.0, w_dec).to(w_dec.dtype), frames)


@wrong("decode")
def makes_infinity_finite(values, positions, w_dec, frames):
    largest = torch.finfo(values.dtype).max
    return eager.decode(values, positions, w_dec, frames).clamp(-largest, largest)


@wrong("decode")
def zeroes_values(values, positions, w_dec, frames):
    result = eager.decode(values, positions, w_dec, frames)
    values.zero_()
    return result


@wrong("decode")
def moves_positions(values, positions, w_dec, frames):
    result = eager.decode(values, positions, w_dec, frames)
    positions.add_(1)
    return result


_last = {}


@wrong("decode")
def reuses_its_output(values, positions, w_dec, frames):
    result = eager.decode(values, positions, w_dec, frames)
    key = result.shape, result.dtype
    if key in _last:
        return _last[key].copy_(result)
    _last[key] = result
    return result


_seen = {}


@wrong("decode")
def remembers_by_address(values, positions, w_dec, frames):
    key = values.data_ptr(), w_dec.data_ptr(), values.shape, values.dtype
    if key not in _seen:
        _seen[key] = eager.decode(values, positions, w_dec, frames)
    return _seen[key].clone()


@wrong("decode")
def assumes_contiguous_positions(values, positions, w_dec, frames):
    if not positions.is_contiguous():
        positions = positions.flip(2).contiguous()
    return eager.decode(values, positions, w_dec, frames)


@wrong("decode")
def shifts_an_even_filter(values, positions, w_dec, frames):
    if w_dec.shape[0] % 2 == 0:
        w_dec = w_dec.roll(1, 0)
    return eager.decode(values, positions, w_dec, frames)


@wrong("decode")
def returns_float32(values, positions, w_dec, frames):
    return eager.decode(values.float(), positions, w_dec.float(), frames)


@wrong("decode")
def sums_float64_in_float32(values, positions, w_dec, frames):
    return eager.decode(values.float(), positions, w_dec.float(), frames).to(values.dtype)


@wrong("decode")
def returns_a_graph(values, positions, w_dec, frames):
    return eager.decode(values, positions, torch.nn.Parameter(w_dec.clone()), frames)


@wrong("decode")
def returns_a_view_with_strides(values, positions, w_dec, frames):
    result = eager.decode(values, positions, w_dec, frames)
    return torch.stack([result, result], -1)[..., 0]


_CONDITIONS = {
    "bins_above_129": lambda v, w, n: w.shape[2] > 129,
    "latents_above_65": lambda v, w, n: w.shape[1] > 65,
    "taps_above_33": lambda v, w, n: w.shape[0] > 33,
    "frames_above_4099": lambda v, w, n: n > 4099,
    "items_above_67": lambda v, w, n: v.shape[0] > 67,
    "taps_and_bins": lambda v, w, n: w.shape[0] > 33 and w.shape[2] > 129,
    "more_than_100000_numbers": lambda v, w, n: v.shape[0] * n * w.shape[2] > 100_000,
    "2000_windows": lambda v, w, n: v.shape[1] > 2000,
}
for _name, _condition in _CONDITIONS.items():

    def _mutant(values, positions, w_dec, frames, condition=_condition):
        result = eager.decode(values, positions, w_dec, frames)
        if condition(values, w_dec, frames):
            result[-1, -1] *= 1.5
        return result

    _mutant.__name__ = f"wrong_for_{_name}"
    wrong("decode")(_mutant)

_count = 0


@wrong("decode")
def is_wrong_once_in_5000_calls(values, positions, w_dec, frames):
    global _count
    _count += 1
    result = eager.decode(values, positions, w_dec, frames)
    return result + 1 if _count % 5000 == 0 else result


_unpooled = {}


@wrong("decode")
def shares_scratch_among_threads(values, positions, w_dec, frames):
    key = tuple(values.shape), values.dtype
    scratch = _unpooled.setdefault(key, torch.empty(values.shape, dtype=values.dtype))
    scratch.copy_(values)
    return eager.decode(scratch, positions, w_dec, frames)


# Gradients


@right("decode_backward")
def one_gradient_after_the_other(grad_reconstruction, values, positions, w_dec, need_values, need_w):
    arguments = grad_reconstruction, values, positions, w_dec
    first = eager.decode_backward(*arguments, True, False)[0] if need_values else None
    return first, eager.decode_backward(*arguments, False, True)[1] if need_w else None


def _backward(function):
    def mutant(*arguments):
        return function(eager.decode_backward(*arguments), arguments)

    mutant.__name__ = function.__name__
    return wrong("decode_backward")(mutant)


@_backward
def drops_nan(gradients, arguments):
    return tuple(None if g is None else g.nan_to_num(0.0) for g in gradients)


@wrong("decode_backward")
def drops_nan_of_the_gradient(grad_reconstruction, *arguments):
    return eager.decode_backward(grad_reconstruction.nan_to_num(0.0), *arguments)


@wrong("decode_backward")
def drops_nan_of_latents(grad_reconstruction, values, *arguments):
    return eager.decode_backward(grad_reconstruction, values.nan_to_num(0.0), *arguments)


@wrong("decode_backward")
def overwrites_the_gradient(grad_reconstruction, *arguments):
    result = eager.decode_backward(grad_reconstruction, *arguments)
    if 0 not in grad_reconstruction.stride():
        grad_reconstruction.mul_(2.0)
    return result


@wrong("decode_backward")
def assumes_a_contiguous_gradient(grad_reconstruction, *arguments):
    if 0 in grad_reconstruction.stride():
        grad_reconstruction = torch.nn.functional.pad(
            grad_reconstruction[..., :1], (0, grad_reconstruction.shape[2] - 1)
        )
    return eager.decode_backward(grad_reconstruction, *arguments)


@_backward
def makes_every_gradient_finite(gradients, arguments):
    return tuple(None if g is None else g.nan_to_num(nan=torch.nan) for g in gradients)


@_backward
def forgets_the_last_item(gradients, arguments):
    grad_values, grad_w = gradients
    if grad_values is not None and len(grad_values) > 60:
        grad_values[-1] = 0
    return grad_values, grad_w


@_backward
def cuts_the_run_at_the_end(gradients, arguments):
    grad_values, grad_w = gradients
    if grad_values is not None and arguments[3].shape[0] > 3:
        grad_values[:, -1] *= 1.1
    return grad_values, grad_w


@wrong("decode_backward")
def skips_negative_values(grad_reconstruction, values, *arguments):
    grad_values, _ = eager.decode_backward(grad_reconstruction, values, *arguments)
    _, grad_w = eager.decode_backward(grad_reconstruction, values.clamp(min=0), *arguments)
    return grad_values, grad_w


@_backward
def gives_what_nobody_asked_for(gradients, arguments):
    return eager.decode_backward(*arguments[:4], True, True)


@_backward
def is_wrong_for_small_gradients(gradients, arguments):
    grad_values, grad_w = gradients
    return grad_values, None if grad_w is None else torch.where(grad_w.abs() < 1e-20, 0.0 * grad_w, grad_w)
