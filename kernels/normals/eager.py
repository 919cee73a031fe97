"""normals in plain PyTorch, on any device."""

import math

import torch
from torch import Tensor

from ..philox import WORDS, words


def normals(seed: int, step: int, items: range, group: int, samples: int, device: torch.device) -> Tensor:
    item = torch.arange(items.start, items.stop, device=device)[:, None]
    counter = torch.arange(-(-samples // WORDS), device=device)[None, :]
    u0, u1, u2, u3 = (((word >> 8) + 1).float() * 2.0**-24 for word in words(seed, step, item, group, counter))
    numbers = []
    for u, v in ((u0, u1), (u2, u3)):
        radius, angle = (-2 * u.log()).sqrt(), 2 * math.pi * v
        numbers += [radius * angle.cos(), radius * angle.sin()]
    return torch.cat(numbers, dim=1)[:, :samples].contiguous()
