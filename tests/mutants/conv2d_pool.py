"""Wrong pooled convolutions of maps."""

import functools

import torch

from partae_fast.kernels.conv2d_pool import cpu, eager

from . import right, wrong


@right("conv2d_pool")
def the_cpu_kernel_or_eager(x, *arguments):
    return (cpu if x.dtype in (torch.float32, torch.float64) else eager).conv2d_pool(x, *arguments)


def _forward(function):
    """Register a function of values, positions and arguments as a wrong conv2d_pool."""

    @functools.wraps(function)
    def mutant(*arguments):
        return function(*eager.conv2d_pool(*arguments), *arguments)

    return wrong("conv2d_pool")(mutant)


@_forward
def positions_of_zeros(values, positions, *_):
    return values, torch.zeros_like(positions)


@_forward
def positions_without_factors(values, positions, *_):
    return values, positions if positions.numel() else torch.zeros_like(values, dtype=torch.int32)


@_forward
def positions_by_bins_first(values, positions, x, weight, bias, pool, relu):
    p, q = pool
    return values, (positions % q * p + positions // q).int()


@_forward
def drops_nan(values, positions, *_):
    return values.nan_to_num(0.0, posinf=torch.inf, neginf=-torch.inf), positions


@_forward
def makes_infinity_finite(values, positions, *_):
    return torch.where(values.isinf(), torch.finfo(values.dtype).max, values).to(values.dtype), positions


@_forward
def forgets_the_short_last_window(values, positions, x, weight, bias, pool, relu):
    if x.shape[2] % pool[1]:
        values[:, :, -1] = 0
    return values, positions


@_forward
def zeroes_the_bias(values, positions, x, weight, bias, *_):
    bias.zero_()
    return values, positions


@_forward
def is_wrong_for_many_filters_of_many_channels(values, positions, x, weight, *_):
    return values * 1.01 if min(weight.shape[2:]) > 64 else values, positions


@_forward
def is_wrong_for_many_bins(values, positions, x, *_):
    return values * 1.01 if x.shape[2] > 2048 else values, positions


@_forward
def is_wrong_for_many_items_of_many_frames(values, positions, x, *_):
    return values * 1.01 if x.shape[0] > 60 and x.shape[1] > 100 else values, positions


@_forward
def values_in_channels_last(values, positions, *_):
    return values.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), positions


@_forward
def swallows_numbers_below_1e_20(values, positions, *_):
    return torch.where(values.abs() < 1e-20, 0.0 * values, values), positions


@wrong("conv2d_pool")
def rectifies_always(x, weight, bias, pool, relu):
    return eager.conv2d_pool(x, weight, bias, pool, True)


@wrong("conv2d_pool")
def flips_the_filters(x, weight, bias, pool, relu):
    return eager.conv2d_pool(x, weight.flip(0, 1), bias, pool, relu)


@wrong("conv2d_pool")
def takes_magnitudes_of_x(x, weight, bias, pool, relu):
    return eager.conv2d_pool(x.abs(), weight, bias, pool, relu)


@wrong("conv2d_pool")
def sums_float64_in_float32(x, weight, bias, pool, relu):
    values, positions = eager.conv2d_pool(x.float(), weight.float(), bias.float(), pool, relu)
    return values.to(x.dtype), positions


@right("conv2d_pool_backward")
def the_eager_gradients(*arguments):
    return eager.conv2d_pool_backward(*arguments)


def _backward(function):
    """Register a function of gradients and arguments as a wrong conv2d_pool_backward."""

    @functools.wraps(function)
    def mutant(*arguments):
        return function(eager.conv2d_pool_backward(*arguments), *arguments)

    return wrong("conv2d_pool_backward")(mutant)


@_backward
def gives_all_gradients_always(gradients, *arguments):
    return eager.conv2d_pool_backward(*arguments[:7], True, True, True)


@_backward
def loses_a_corner_of_the_filters(gradients, *_):
    x, weight, bias = gradients
    if weight is not None:
        weight[2, 2] = 0
    return x, weight, bias


@_backward
def drops_nan_backwards(gradients, *_):
    return tuple(None if g is None else g.nan_to_num(0.0) for g in gradients)


@_backward
def doubles_the_bias_when_it_is_alone(gradients, *arguments):
    x, weight, bias = gradients
    return x, weight, 2 * bias if bias is not None and x is None and weight is None else bias


@wrong("conv2d_pool_backward")
def passes_gradients_of_silence(grad_values, x, weight, values, positions, pool, relu, *needs):
    return eager.conv2d_pool_backward(grad_values, x, weight, values.abs() + 1, positions, pool, relu, *needs)


@wrong("conv2d_pool_backward")
def assumes_a_contiguous_gradient(grad_values, *arguments):
    if 0 in grad_values.stride():
        grad_values = torch.cat([grad_values[:1], 0 * grad_values[1:]])
    return eager.conv2d_pool_backward(grad_values, *arguments)
