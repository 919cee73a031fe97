"""dense in plain PyTorch, on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._eager.common import upcast
from ..philox import WORDS, words
from . import EPSILON, SLOPE, Dropout

FORWARD = {
    "identity": lambda z: z,
    "relu": F.relu,
    "mrelu": lambda z: torch.where(z < EPSILON, EPSILON / (1 + (EPSILON - z)), z),
    "leaky_relu": lambda z: F.leaky_relu(z, SLOPE),
}


def _through_mrelu(g: Tensor, y: Tensor, knee: Tensor, scale: float) -> Tensor:
    sloped = torch.where(y <= knee, g * ((y / scale) ** 2 / EPSILON), g)
    return torch.where(y == 0, 0.0, sloped)  # dropped: the output of mrelu is never 0


# The gradient before the activation, from the gradient g after it and the output y, which dropout scaled; `knee` is
# EPSILON scaled likewise. The gradient passes where y is NaN. Where the slope is 0 it is 0, even if g is NaN.
THROUGH = {
    "identity": lambda g, y, knee, scale: g,
    "relu": lambda g, y, knee, scale: torch.where(y <= 0, 0.0, g),
    "mrelu": _through_mrelu,
    "leaky_relu": lambda g, y, knee, scale: torch.where(y <= 0, SLOPE * g, g),
}


def kept(output: Tensor, dropout: Dropout) -> Tensor:
    """Return a mask of the outputs (B, O) that dropout keeps."""
    items, outputs = output.shape
    item = torch.arange(items, device=output.device)[:, None]
    step = dropout.step.view(1, 1) if isinstance(dropout.step, Tensor) else dropout.step
    group = torch.arange(-(-outputs // WORDS), device=output.device)[None, :]
    drawn = torch.stack(words(dropout.seed, step, item, dropout.layer, group), dim=2)
    return drawn.flatten(1)[:, :outputs] >= dropout.threshold


def dense(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, dropout: Dropout) -> Tensor:
    wx, ww, wb = upcast(x, weight, bias)
    y = FORWARD[activation](wx @ ww if wb is None else torch.addmm(wb, wx, ww))
    if dropout.threshold:
        y = torch.where(kept(y, dropout), y * dropout.scale, 0.0)
    return y.to(x.dtype).contiguous()


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
    g, y, wx, ww = upcast(grad_output, output, x, weight)
    knee = (y.new_tensor(EPSILON) * dropout.scale).to(output.dtype)
    g = THROUGH[activation](g, y, knee, dropout.scale) * dropout.scale
    if dropout.masks(activation):
        g = torch.where(kept(y, dropout), g, 0.0)
    grad_x = (g @ ww.t()).to(x.dtype) if need_x else None
    grad_weight = (wx.t() @ g).to(x.dtype) if need_weight else None
    grad_bias = g.sum(0).to(x.dtype) if need_bias else None
    return grad_x, grad_weight, grad_bias
