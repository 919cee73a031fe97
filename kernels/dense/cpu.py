"""dense on the CPU: products by tiles that stay in registers (`_cpu/products.py`), with everything else at their ends.

Forward, a unit of work is a panel of outputs for some items: bias, activation and dropout pass over what the products
have just left in the cache. Backward, one pass takes the gradient through dropout and activation, adds up that of the
bias, and leaves its result in the two orders that the products read it in: panels of outputs for the weight's gradient,
panels of items for x's, which is made transposed so that the weight is read along its rows.

A number is the sum of its products in one order, whatever the threads and whatever else is in the batch.
"""

import numpy as np
import torch
from torch import Tensor

from .._cpu.jit import kernel
from .._cpu.philox import words_at
from .._cpu.products import ROWS, columns, fill_panel, multiply
from .._cpu.runs import arrays
from .._cpu.threads import next_unit, spread
from ..philox import WORDS
from . import ACTIVATIONS, EPSILON, SLOPE, Dropout

ITEMS = 20 * ROWS  # that a panel of the weight, once filled, serves in the forward pass
TALL = 2 * ROWS  # rows of a gradient in a unit: what is read along them stays in the second-level cache

IDENTITY, RELU, MRELU, LEAKY_RELU = (ACTIVATIONS.index(a) for a in ("identity", "relu", "mrelu", "leaky_relu"))


@kernel
def _keep(words, draw, item, first):
    """Fill `words` with those of outputs first, first + 1, ... of an item; `first` is a multiple of 4.

    draw is seed, step, layer, uint64. The words are below 2^32.
    """
    seed, step, layer = draw[0], draw[1], draw[2]
    for group in range(np.uint64(words.size // WORDS)):
        at = np.uint64(WORDS) * group
        w0, w1, w2, w3 = words_at(seed, step, np.uint64(item), layer, np.uint64(first // WORDS) + group)
        words[at], words[at + np.uint64(1)], words[at + np.uint64(2)], words[at + np.uint64(3)] = w0, w1, w2, w3


@kernel
def _finish(y, at, bias, o, count, activation, small, slope):
    """Bias and activation on y[at : at + count]; unsigned places, so that the loops become vector code."""
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
            y[at + q] = small / (one + (small - z)) if z < small else z
    else:
        for q in range(count):
            z = y[at + q] + bias[o + q]
            y[at + q] = slope * z if z <= 0 else z


@kernel
def _drop(y, at, words, count, threshold, scale):
    for q in range(count):
        y[at + q] = y[at + q] * scale if words[q] >= threshold else 0


@kernel
def _forward(counters, y, x, weight, bias, shape, activation, numbers, draw):
    batch, inputs, outputs, width = shape
    small, slope, scale = numbers
    panels = (outputs + width - 1) // width
    panel = np.empty(inputs * width, dtype=y.dtype)
    tile = np.empty(ROWS * width, dtype=y.dtype)
    words = np.empty(width, dtype=np.uint64)
    unit = next_unit(counters, -1)
    while unit >= 0:
        begin, first = (unit // panels) * ITEMS, (unit % panels) * width
        wanted = min(width, outputs - first)
        fill_panel(panel, weight, first, outputs, inputs, width, wanted)
        end = min(begin + ITEMS, batch)
        for item in range(begin, end, ROWS):
            rows = min(ROWS, end - item)
            at = item * outputs + first
            if rows == ROWS and wanted == width:
                multiply(y, at, outputs, x, item * inputs, rows, inputs, 1, panel, 0, width, inputs)
            else:
                multiply(tile, 0, width, x, item * inputs, rows, inputs, 1, panel, 0, width, inputs)
                for r in range(rows):
                    for q in range(wanted):
                        y[at + r * outputs + q] = tile[r * width + q]
        for item in range(begin, end):
            at = np.uint64(item * outputs + first)
            _finish(y, at, bias, np.uint64(first), np.uint64(wanted), activation, small, slope)
            if draw[3] > 0:
                _keep(words, draw, item, first)
                _drop(y, at, words, np.uint64(wanted), draw[3], scale)
        unit = next_unit(counters, unit)


@kernel
def _differentiate(g, j, grad, y, at, count, activation, numbers):
    """g[j : j + count] = grad[at : at + count] times the derivative of activation and scaling."""
    small, slope, scale = numbers
    zero, one, knee = y.dtype.type(0), y.dtype.type(1), small * scale
    if activation == IDENTITY:
        for q in range(count):
            g[j + q] = grad[at + q] * scale
    elif activation == RELU:
        for q in range(count):
            g[j + q] = zero if y[at + q] <= zero else grad[at + q] * scale
    elif activation == MRELU:
        factor = one / (small * scale)
        for q in range(count):
            out = y[at + q]
            sloped = grad[at + q] * (out * out * factor if out <= knee else scale)
            g[j + q] = zero if out == zero else sloped  # dropped: mrelu itself is never 0
    else:
        for q in range(count):
            g[j + q] = grad[at + q] * (slope * scale if y[at + q] <= zero else scale)


@kernel
def _gradient(counters, by_output, by_item, grad_bias, grad, y, shape, activation, numbers, draw, redraw):
    """The gradient of the pre-activation in panels of outputs (., B, Q) and of items (., O, Q), and that of the bias.

    by_item may be empty: then x needs no gradient.
    """
    batch, _, outputs, width = shape
    words = np.empty(width, dtype=np.uint64)
    total = np.empty(width, dtype=np.float64)
    unit = next_unit(counters, -1)
    while unit >= 0:
        first, start = unit * width, unit * batch * width
        wanted = min(width, outputs - first)
        total[:] = 0
        for item in range(batch):
            at, j = np.uint64(item * outputs + first), np.uint64(start + item * width)
            _differentiate(by_output, j, grad, y, at, np.uint64(wanted), activation, numbers)
            if redraw:
                _keep(words, draw, item, first)
                _drop(by_output, j, words, np.uint64(wanted), draw[3], by_output.dtype.type(1))
            for q in range(wanted, width):
                by_output[start + item * width + q] = 0
            for q in range(np.uint64(width)):
                total[q] += by_output[j + q]
        for q in range(wanted):
            grad_bias[first + q] = total[q]
        for begin in range(0, batch if by_item.size > 0 else 0, width):
            count = min(width, batch - begin)
            for q in range(wanted):
                to = begin * outputs + (first + q) * width
                for r in range(width):
                    by_item[to + r] = by_output[start + (begin + r) * width + q] if r < count else 0
        unit = next_unit(counters, unit)


@kernel
def _weight_gradient(counters, grad_weight, x, by_output, shape):
    batch, inputs, outputs, width = shape
    across = np.empty(TALL * batch, dtype=x.dtype)  # x's columns, ROWS of them side by side
    tile = np.empty(ROWS * width, dtype=x.dtype)
    unit = next_unit(counters, -1)
    while unit >= 0:
        begin = unit * TALL
        end = min(begin + TALL, inputs)
        for i in range(begin, end, ROWS):
            for b in range(batch):
                to = (i - begin) * batch + b * ROWS
                for r in range(ROWS):
                    across[to + r] = x[b * inputs + min(i + r, end - 1)]
        for first in range(0, outputs, width):
            wanted = min(width, outputs - first)
            for i in range(begin, end, ROWS):
                rows, place = min(ROWS, end - i), first * batch
                source, at = (i - begin) * batch, i * outputs + first
                if rows == ROWS and wanted == width:
                    multiply(grad_weight, at, outputs, across, source, rows, 1, ROWS, by_output, place, width, batch)
                else:
                    multiply(tile, 0, width, across, source, rows, 1, ROWS, by_output, place, width, batch)
                    for r in range(rows):
                        for q in range(wanted):
                            grad_weight[at + r * outputs + q] = tile[r * width + q]
        unit = next_unit(counters, unit)


@kernel
def _input_gradient(counters, grad_x, weight, by_item, shape):
    batch, inputs, outputs, width = shape
    tile = np.empty(ROWS * width, dtype=grad_x.dtype)
    unit = next_unit(counters, -1)
    while unit >= 0:
        for i in range(unit * TALL, min((unit + 1) * TALL, inputs), ROWS):
            rows = min(ROWS, inputs - i)
            for begin in range(0, batch, width):
                multiply(
                    tile, 0, width, weight, i * outputs, rows, outputs, 1, by_item, begin * outputs, width, outputs
                )
                for q in range(min(width, batch - begin)):
                    for r in range(rows):
                        grad_x[(begin + q) * inputs + i + r] = tile[r * width + q]
        unit = next_unit(counters, unit)


def _settings(kind: np.dtype, activation: str, dropout: Dropout) -> tuple[int, tuple, np.ndarray]:
    """What the kernels are told of activation and dropout, numbers of the tensors' type."""
    numbers = tuple(kind.type(n) for n in (EPSILON, SLOPE, dropout.scale))
    draw = np.array([dropout.seed, dropout.step, dropout.layer, dropout.threshold], dtype=np.uint64)
    return ACTIVATIONS.index(activation), numbers, draw


def dense(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, dropout: Dropout) -> Tensor:
    (batch, inputs), outputs = x.shape, weight.shape[1]
    source, weights = arrays(x, weight)
    biases = np.zeros(outputs, weights.dtype) if bias is None else arrays(bias)[0]
    width = columns(weights.itemsize)
    y = torch.empty(batch, outputs, dtype=x.dtype)
    units = -(-batch // ITEMS) * -(-outputs // width)
    shape, settings = (batch, inputs, outputs, width), _settings(weights.dtype, activation, dropout)
    given = y.numpy().reshape(-1), source.reshape(-1), weights.reshape(-1), biases
    spread(_forward, units, batch * inputs * outputs, *given, shape, *settings)
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
    (batch, inputs), outputs = x.shape, weight.shape[1]
    grad, y, source, weights = (a.reshape(-1) for a in arrays(grad_output, output, x, weight))
    kind, width = weights.dtype, columns(weights.itemsize)
    panels = -(-outputs // width)
    by_output = np.empty(panels * batch * width, kind)
    by_item = np.empty(-(-batch // width) * outputs * width if need_x else 0, kind)
    shape = batch, inputs, outputs, width
    grad_bias = torch.empty(outputs, dtype=x.dtype)
    given = by_output, by_item, grad_bias.numpy(), grad, y, shape, *_settings(kind, activation, dropout)
    spread(_gradient, panels, 10 * grad.size, *given, dropout.masks(activation))
    grad_x = grad_weight = None
    if need_weight:
        grad_weight = torch.empty(inputs, outputs, dtype=x.dtype)
        given = grad_weight.numpy().reshape(-1), source, by_output, shape
        spread(_weight_gradient, -(-inputs // TALL), batch * inputs * outputs, *given)
    if need_x:
        grad_x = torch.empty(batch, inputs, dtype=x.dtype)
        given = grad_x.numpy().reshape(-1), weights, by_item, shape
        spread(_input_gradient, -(-inputs // TALL), batch * inputs * outputs, *given)
    return grad_x, grad_weight, grad_bias if need_bias else None
