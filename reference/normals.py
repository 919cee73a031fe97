"""White Gaussian noise from a counter: Philox-4x32-10 (Salmon et al. 2011) and the method of Box & Muller (1958).

Item b of a draw has the counters (step, b, group, j), j = 0 .. C - 1 with C = ceil(samples / 4). The four words w
of a counter give u = (floor(w / 2^8) + 1) / 2^24 in (0, 1], and these four independent normal numbers:

    sqrt(-2 ln u0) cos(2 pi u1),  sqrt(-2 ln u0) sin(2 pi u1),        and likewise from u2 and u3

Number q of counter j is sample q C + j.
"""

import numpy as np

from .philox import philox, seed_key

Array = np.ndarray


def normals(seed: int, step: int, items: range, group: int, samples: int) -> Array:
    """Return noise (items, samples) of mean 0 and variance 1."""
    counters = -(-samples // 4)
    b, j = np.meshgrid(np.arange(items.start, items.stop), np.arange(counters), indexing="ij")
    w = philox(np.stack(np.broadcast_arrays(step, b, group, j), axis=-1), seed_key(seed))
    u = ((w >> 8) + 1.0) / 2.0**24
    radius, angle = np.sqrt(-2 * np.log(u[..., ::2])), 2 * np.pi * u[..., 1::2]
    numbers = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(len(items), counters, 4)
    return np.moveaxis(numbers, 2, 1).reshape(len(items), 4 * counters)[:, :samples]
