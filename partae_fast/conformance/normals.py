"""White Gaussian noise by counter, against the reference."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..reference import normals as reference
from ..reference.philox import philox, seed_key
from .cases import WRONG, error, twice


@dataclass(frozen=True)
class Case:
    """One draw."""

    name: str
    items: range
    samples: int
    seed: int = 5
    step: int = 3
    group: int = 1


TINY = [
    *(Case(f"{n} samples", range(2), n) for n in (1, 2, 3, 4, 5, 7, 13)),
    Case("no item", range(0), 8),
    Case("items from the middle of a batch", range(5, 8), 9),
    Case("the largest seed, step and group", range(2**32 - 2, 2**32), 6, 2**63 - 1, 2**32 - 1, 2**32 - 1),
]
LARGER = [
    *(Case(f"{n} samples", range(3), n) for n in (1020, 1023, 1024, 1025, 1028, 4099)),
    Case("the thesis's", range(128), 1024),
]


def normals(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    arguments = case.seed, case.step, case.items, case.group, case.samples
    (found,), bits = twice(lambda: (implementation.normals(*arguments, device),))
    right = found.dtype == torch.float32 and found.device.type == device.type and found.is_contiguous()
    truth = reference.normals(*arguments)
    return {"kind": 0.0 if right else WRONG, "noise": error(found, truth), "bits": bits}


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Of the reference itself: (case, quantity, error) against a loop over samples."""
    for case in TINY:
        found = reference.normals(case.seed, case.step, case.items, case.group, case.samples)
        counters, worst = -(-case.samples // 4), 0.0
        for (row, sample), number in np.ndenumerate(found):
            q, j = divmod(sample, counters)
            words = philox(np.array([case.step, case.items[row], case.group, j]), seed_key(case.seed))
            u, v = ((int(words[q // 2 * 2 + i]) // 256 + 1) / 2**24 for i in (0, 1))
            wave = math.sin if q % 2 else math.cos
            worst = max(worst, abs(number - math.sqrt(-2 * math.log(u)) * wave(2 * math.pi * v)))
        yield case.name, "noise", worst
