"""White Gaussian noise by counter, against the reference."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..reference import normals as reference
from ..reference.philox import philox, seed_key
from .comparison import Output
from .examination import Call, examined


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


BEYOND = [Case("many items of many samples", range(131), 1031), Case("many samples", range(2), 100_003)]
REPEATED = "7 samples"


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes and counters, which depend on the seed only."""
    rng, cases = np.random.default_rng(seed), []
    for number in range(count):
        samples, first = int(np.exp(rng.uniform(0, 10))), int(rng.integers(2**31))
        items = range(first, first + 1 + int(rng.integers(200_000 // samples + 1)))
        counters = int(rng.integers(2**63)), int(rng.integers(2**32)), int(rng.integers(2**32))
        cases.append(Case(f"draw {number} of seed {seed}: {len(items)} x {samples}", items, samples, *counters))
    return cases


@examined
def normals(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    case = replace(case, step=(case.step + draw) % 2**32)
    arguments = case.seed, case.step, case.items, case.group, case.samples
    return [Call((*arguments, device), (Output("noise", reference.normals(*arguments), torch.float32),))]


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, error) of the reference, against a loop over samples."""
    for case in TINY:
        noise = reference.normals(case.seed, case.step, case.items, case.group, case.samples)
        counters, worst = -(-case.samples // 4), 0.0
        for (row, sample), number in np.ndenumerate(noise):
            q, j = divmod(sample, counters)
            words = philox(np.array([case.step, case.items[row], case.group, j]), seed_key(case.seed))
            u, v = ((int(words[q // 2 * 2 + i]) // 256 + 1) / 2**24 for i in (0, 1))
            wave = math.sin if q % 2 else math.cos
            worst = max(worst, abs(number - math.sqrt(-2 * math.log(u)) * wave(2 * math.pi * v)))
        yield case.name, "noise", worst


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {"normals": lambda case: 1}
