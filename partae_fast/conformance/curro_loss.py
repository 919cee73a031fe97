"""The Curro loss and both its gradients, against the reference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from ..reference import curro_loss as reference
from .cases import draw_sizes, generator, one_large, scale_of, two_large
from .comparison import array
from .examination import Call, examined
from .losses import UNEVEN, loss_call, maker
from .truth import differences


@dataclass(frozen=True)
class Case:
    """The shape of a batch, the share of noise-only items, and `kind`, the property of its numbers."""

    name: str
    batch: int
    bins: int
    noise_only: float = 0.5
    kind: str = "random"


TINY = [
    Case("ones", 1, 1),
    Case("primes", 7, 13),
    Case("every item noise-only", 3, 5, noise_only=1.0),
    Case("no item noise-only", 3, 5, noise_only=0.0),
    Case("labels between", 4, 6, kind="labels between"),
    Case("not contiguous", 4, 6, kind="not contiguous"),
    Case("offset in storage", 5, 7, kind="offset"),
    Case("tiny numbers", 4, 6, kind="tiny"),
    Case("huge numbers", 4, 6, kind="huge"),
    Case("infinite", 4, 6, kind="infinite"),
    Case("NaN at one place", 4, 6, kind="nan"),
    Case("one bin", 9, 1),
    Case("one item", 1, 37),
]
LARGER = [
    *(Case(f"{n} items", n, 5) for n in (15, 16, 17, 127, 128, 129, 4099)),
    *(Case(f"{n} bins", 3, n) for n in (15, 16, 17, 127, 128, 129, 513, 4099)),
    Case("the thesis's", 128, 1024),
]
# Far beyond the tiles of every back-end.
BEYOND = [
    *one_large(Case, {"batch": 3, "bins": 5}, {"batch": 70_001, "bins": 70_003}),
    *two_large(Case, {"batch": 3, "bins": 5}, {"batch": 1031, "bins": 1033}),
]


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes and kinds, which depend on the seed only."""
    rng, cases = np.random.default_rng(seed), []
    for number in range(count):
        sizes = draw_sizes(rng, {"batch": 20_000, "bins": 20_000}, lambda batch, bins: batch * bins, 2e5)
        kind = str(rng.choice(["random", "labels between", "not contiguous", "offset"]))
        name = f"draw {number} of seed {seed}: {sizes['batch']} x {sizes['bins']}, {kind}"
        cases.append(Case(name, **sizes, noise_only=float(rng.random()), kind=kind))
    return cases


def tensors(case: Case, dtype: torch.dtype, device: torch.device, draw: int = 0) -> SimpleNamespace:
    """Return the op's inputs for a case, which depend on the draw only."""
    rng, tensor = generator(case.name, draw), maker(case.kind, dtype, device)
    signal, noise, target = scale_of(case.kind, dtype) * rng.standard_normal((3, case.batch, case.bins))
    noise_only = (np.arange(case.batch) < round(case.batch * case.noise_only)).astype(float)
    if case.kind == "labels between":
        noise_only = rng.random(case.batch)
    if case.kind == "nan":
        signal[-1, 0] = np.nan
    if case.kind == "infinite":
        noise[0, 1], target[-1, 2] = np.inf, np.inf
    named = {"signal": signal, "noise": noise, "target": target, "noise_only": noise_only}
    return SimpleNamespace(**{name: tensor(numbers) for name, numbers in named.items()})


@examined
def curro_loss(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    inputs = tuple(vars(tensors(case, dtype, device, draw)).values())
    loss, grad_signal, grad_noise = reference.curro_loss(*(array(tensor) for tensor in inputs))
    return loss_call(inputs, {"loss": loss, "signal": grad_signal, "noise": grad_noise}, dtype)


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference, against loops and finite differences."""
    for case in TINY:
        if case.kind in UNEVEN:
            continue
        t = tensors(case, torch.float64, torch.device("cpu"))
        signal, noise, target, y = (array(tensor) for tensor in vars(t).values())
        loss, grad_signal, grad_noise = reference.curro_loss(signal, noise, target, y)
        total = 0.0
        for b, h in np.ndindex(*signal.shape):
            total += (target[b, h] - noise[b, h] - (1 - y[b]) * signal[b, h]) ** 2
        by_signal = differences(lambda s, n=noise, t=target, y=y: reference.curro_loss(s, n, t, y)[0], signal)
        by_noise = differences(lambda n, s=signal, t=target, y=y: reference.curro_loss(s, n, t, y)[0], noise)
        for quantity, result, expected in (
            ("loss", np.array(loss), np.array(total / case.batch)),
            ("signal", grad_signal, by_signal),
            ("noise", grad_noise, by_noise),
        ):
            size = np.linalg.norm(expected)
            yield case.name, quantity, float(np.linalg.norm(result - expected) / (size if size > 0 else 1.0))


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {"curro_loss": lambda case: case.batch * case.bins}
