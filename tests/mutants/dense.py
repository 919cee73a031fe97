"""Wrong dense layers."""

import functools
from dataclasses import replace

import torch

from partae_fast.kernels.dense import Dropout, cpu, eager

from . import right, wrong


@right("dense")
def the_cpu_kernel_or_eager(x, *arguments):
    return (cpu if x.dtype in (torch.float32, torch.float64) else eager).dense(x, *arguments)


def _forward(function):
    """Register a function of x, weight, bias, activation, dropout -> changed ones as a wrong dense."""

    @functools.wraps(function)
    def mutant(x, weight, bias, activation, dropout):
        return eager.dense(*function(x, weight, bias, activation, dropout))

    return wrong("dense")(mutant)


@_forward
def drops_by_a_step_of_16_bits(x, weight, bias, activation, dropout):
    return x, weight, bias, activation, replace(dropout, step=dropout.step % 2**16)


@_forward
def ignores_the_layer(x, weight, bias, activation, dropout):
    return x, weight, bias, activation, replace(dropout, layer=0)


@_forward
def drops_by_a_seed_of_32_bits(x, weight, bias, activation, dropout):
    return x, weight, bias, activation, replace(dropout, seed=dropout.seed % 2**32)


@_forward
def never_drops(x, weight, bias, activation, dropout):
    return x, weight, bias, activation, Dropout(0.0, 0, 0, 0)


@_forward
def is_not_leaky(x, weight, bias, activation, dropout):
    return x, weight, bias, "relu" if activation == "leaky_relu" else activation, dropout


@_forward
def takes_mrelu_for_relu(x, weight, bias, activation, dropout):
    return x, weight, bias, "relu" if activation == "mrelu" else activation, dropout


@_forward
def forgets_the_bias(x, weight, bias, activation, dropout):
    return x, weight, None, activation, dropout


@_forward
def drops_nan_of_x(x, weight, bias, activation, dropout):
    return x.nan_to_num(0.0, posinf=torch.inf, neginf=-torch.inf), weight, bias, activation, dropout


@_forward
def clears_x(x, weight, bias, activation, dropout):
    old = x.clone()
    x.zero_()
    return old, weight, bias, activation, dropout


@_forward
def takes_strided_weights_for_contiguous(x, weight, bias, activation, dropout):
    return x, weight if weight.is_contiguous() else weight.flip(0), bias, activation, dropout


def _after(function):
    """Register a function of output and arguments as a wrong dense."""

    @functools.wraps(function)
    def mutant(*arguments):
        return function(eager.dense(*arguments), *arguments)

    return wrong("dense")(mutant)


@_after
def makes_infinity_finite(output, *_):
    return torch.where(output.isinf(), torch.finfo(output.dtype).max, output).to(output.dtype)


@_after
def is_wrong_for_long_sums(output, x, *_):
    return output * 1.01 if x.shape[1] > 2000 else output


@_after
def is_wrong_for_many_outputs_of_many_inputs(output, x, weight, *_):
    return output * 1.01 if min(weight.shape) > 1000 else output


@_after
def returns_a_transpose(output, *_):
    return output.T.contiguous().T


@_after
def returns_float32_for_float64(output, *_):
    return output.float() if output.dtype == torch.float64 else output


@_after
def rounds_small_outputs_to_0(output, *_):
    return torch.where(output.abs() < 1e-12, 0.0 * output, output)


_memory = {}


@_after
def reuses_its_output(output, *_):
    key = output.shape, output.dtype
    return _memory.setdefault(key, torch.empty_like(output)).copy_(output)


@right("dense_backward")
def the_eager_gradients(*arguments):
    return eager.dense_backward(*arguments)


def _backward(function):
    """Register a function of gradients and arguments as a wrong dense_backward."""

    @functools.wraps(function)
    def mutant(*arguments):
        return function(eager.dense_backward(*arguments), *arguments)

    return wrong("dense_backward")(mutant)


@_backward
def gives_all_gradients_always(gradients, *arguments):
    return eager.dense_backward(*arguments[:6], True, True, True)


@_backward
def gives_no_bias_with_the_weight(gradients, *arguments):
    return (*gradients[:2], None) if arguments[7] and not arguments[6] else gradients


@_backward
def forgets_the_last_item_in_the_bias(gradients, grad_output, *_):
    x, weight, bias = gradients
    return x, weight, None if bias is None else bias - grad_output[-1]


@_backward
def drops_nan(gradients, *_):
    return tuple(None if g is None else g.nan_to_num(0.0) for g in gradients)


@wrong("dense_backward")
def drops_by_another_step(grad_output, output, x, weight, activation, dropout, *needs):
    return eager.dense_backward(grad_output, output, x, weight, activation, replace(dropout, step=0), *needs)


@wrong("dense_backward")
def is_not_leaky_backwards(grad_output, output, x, weight, activation, *rest):
    activation = "relu" if activation == "leaky_relu" else activation
    return eager.dense_backward(grad_output, output, x, weight, activation, *rest)


@wrong("dense_backward")
def scales_the_gradient_in_place(grad_output, *arguments):
    result = eager.dense_backward(grad_output, *arguments)
    if 0 not in grad_output.stride():
        grad_output.mul_(2)
    return result
