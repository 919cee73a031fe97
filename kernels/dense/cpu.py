"""dense on the CPU: PyTorch's matrix products, with everything else fused into one pass of Numba before or after them.

Forward, that pass applies bias, activation and dropout in place. Backward, it takes the gradient through dropout and
activation and sums that of the bias. Equal bits hold at a fixed number of threads: the products are a library's.
"""

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.jit import kernel
from .._cpu.philox import words_at
from .._cpu.products import product
from .._cpu.threads import next_unit, spread
from ..philox import WORDS
from . import ACTIVATIONS, EPSILON, SLOPE, Dropout

SEGMENT = 256  # outputs in a unit of work; a multiple of WORDS
ROWS = 16  # items in a unit of the forward pass: 16 KB of float32, which the first-level cache holds
DRAW_OPERATIONS = 30  # scalar operations to draw a random word

IDENTITY, RELU, MRELU, LEAKY_RELU = (ACTIVATIONS.index(a) for a in ("identity", "relu", "mrelu", "leaky_relu"))


@kernel
def _draw(words, key, item, first):
    """Fill `words` with the random words of outputs first, first + 1, ... of an item; `first` is a multiple of 4.

    key is (seed, step, layer, threshold), uint64. The words are below 2^32.
    """
    seed, step, layer = key[0], key[1], key[2]
    for group in range(np.uint64(words.size // WORDS)):
        at = np.uint64(WORDS) * group
        w0, w1, w2, w3 = words_at(seed, step, np.uint64(item), layer, np.uint64(first // WORDS) + group)
        words[at], words[at + np.uint64(1)], words[at + np.uint64(2)], words[at + np.uint64(3)] = w0, w1, w2, w3


@kernel
def _drop(y, at, words, count, threshold, scale):
    """Set the dropped ones of y[at : at + count] to 0 and scale the others."""
    for q in range(count):
        y[at + q] = y[at + q] * scale if words[q] >= threshold else 0


@kernel
def _activate(y, at, bias, o, count, activation, epsilon, slope):
    """Apply bias and activation to y[at : at + count]. Unsigned indices let the loops become vector code."""
    one = y.dtype.type(1)
    if activation == IDENTITY:
        for q in range(count):
            y[at + q] += bias[o + q]
    elif activation == RELU:
        for q in range(count):
            z = y[at + q] + bias[o + q]
            y[at + q] = 0 if z <= 0 else z
    elif activation == MRELU:
        for q in range(count):
            z = y[at + q] + bias[o + q]
            y[at + q] = epsilon / (one + (epsilon - z)) if z < epsilon else z
    else:
        for q in range(count):
            z = y[at + q] + bias[o + q]
            y[at + q] = slope * z if z <= 0 else z


@kernel
def _finish(counters, y, bias, shape, activation, numbers, key):
    """Apply bias, activation and dropout to the product y (B * O,), in place."""
    batch, outputs = shape
    epsilon, slope, scale = numbers
    segments = (outputs + SEGMENT - 1) // SEGMENT
    words = np.empty(SEGMENT, dtype=np.uint64)
    unit = next_unit(counters, -1)
    while unit >= 0:
        begin, first = (unit // segments) * ROWS, (unit % segments) * SEGMENT
        count = np.uint64(min(SEGMENT, outputs - first))
        for item in range(begin, min(begin + ROWS, batch)):
            at = np.uint64(item * outputs + first)
            _activate(y, at, bias, np.uint64(first), count, activation, epsilon, slope)
            if key[3] > 0:
                _draw(words, key, item, first)
                _drop(y, at, words, count, key[3], scale)
        unit = next_unit(counters, unit)


@kernel
def _differentiate(g, grad, y, at, count, activation, numbers):
    """Set g[at : at + count] to grad times the derivative of activation and scaling."""
    epsilon, slope, scale = numbers
    zero, one, knee = y.dtype.type(0), y.dtype.type(1), epsilon * scale
    if activation == IDENTITY:
        for q in range(count):
            g[at + q] = grad[at + q] * scale
    elif activation == RELU:
        for q in range(count):
            g[at + q] = zero if y[at + q] <= zero else grad[at + q] * scale
    elif activation == MRELU:
        factor = one / (epsilon * scale)
        for q in range(count):
            out = y[at + q]
            sloped = grad[at + q] * (out * out * factor if out <= knee else scale)
            g[at + q] = zero if out == zero else sloped  # dropped: the output of mrelu is never 0
    else:
        for q in range(count):
            g[at + q] = grad[at + q] * (slope * scale if y[at + q] <= zero else scale)


@kernel
def _gradient(counters, g, grad_bias, grad, y, shape, activation, numbers, key, redraw):
    """Write the gradient of the pre-activation to g (B * O,) and its sum over items to grad_bias (O,).

    grad_bias may be empty: then it is not summed.
    """
    batch, outputs = shape
    words = np.empty(SEGMENT, dtype=np.uint64)
    total = np.empty(SEGMENT, dtype=np.float64)
    unit = next_unit(counters, -1)
    while unit >= 0:
        first = unit * SEGMENT
        count = np.uint64(min(SEGMENT, outputs - first))
        total[:] = 0
        for item in range(batch):
            at = np.uint64(item * outputs + first)
            _differentiate(g, grad, y, at, count, activation, numbers)
            if redraw:
                _draw(words, key, item, first)
                _drop(g, at, words, count, key[3], g.dtype.type(1))
            if grad_bias.size:
                for q in range(count):
                    total[q] += g[at + q]
        if grad_bias.size:
            for q in range(count):
                grad_bias[first + q] = total[q]
        unit = next_unit(counters, unit)


def _settings(dtype: np.dtype, activation: str, dropout: Dropout) -> tuple[int, tuple, np.ndarray]:
    """Return activation and dropout as the kernels take them, with numbers of the tensors' type."""
    numbers = tuple(dtype.type(n) for n in (EPSILON, SLOPE, dropout.scale))
    key = np.array([dropout.seed, int(dropout.step), dropout.layer, dropout.threshold], dtype=np.uint64)
    return ACTIVATIONS.index(activation), numbers, key


def dense(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, dropout: Dropout) -> Tensor:
    y = product(x.detach(), weight.detach())
    if bias is None and activation == "identity" and not dropout.threshold:
        return y
    batch, outputs = y.shape
    (flat,) = arrays(y.view(-1))
    biases = np.zeros(outputs, flat.dtype) if bias is None else arrays(bias)[0]
    units = -(-batch // ROWS) * -(-outputs // SEGMENT)
    work = y.numel() * (1 + DRAW_OPERATIONS * (dropout.threshold > 0))
    spread(_finish, units, work, flat, biases, (batch, outputs), *_settings(flat.dtype, activation, dropout))
    return y


def dense_backward(
    grad_output: Tensor,
    output: Tensor,
    x: Tensor,
    weight: Tensor,
    activation: str,
    dropout: Dropout,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight, (batch, outputs) = x.detach(), weight.detach(), output.shape
    grad, y = arrays(grad_output, output)
    g = torch.empty(batch, outputs, dtype=x.dtype)
    grad_bias = torch.empty(outputs if need_bias else 0, dtype=x.dtype)
    redraw = dropout.masks(activation)
    spread(
        _gradient,
        -(-outputs // SEGMENT),
        grad.size * (2 + DRAW_OPERATIONS * redraw),
        g.numpy().reshape(-1),
        grad_bias.numpy(),
        grad.reshape(-1),
        y.reshape(-1),
        (batch, outputs),
        *_settings(y.dtype, activation, dropout),
        redraw,
    )
    grad_x = product(g, weight.t()) if need_x else None
    grad_weight = product(x.t(), g) if need_weight else None
    return grad_x, grad_weight, grad_bias if need_bias else None
