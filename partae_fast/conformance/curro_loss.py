"""The Curro loss and both its gradients, against the reference."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..reference import curro_loss as reference
from .cases import WRONG, array, error, strided, twice
from .truth import differences


@dataclass(frozen=True)
class Case:
    """One batch: its shape, the share of noise-only items, and `kind`, which is what is special about it."""

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
    Case("one bin", 9, 1),
    Case("one item", 1, 37),
]
LARGER = [
    *(Case(f"{n} items", n, 5) for n in (15, 16, 17, 127, 128, 129, 4099)),
    *(Case(f"{n} bins", 3, n) for n in (15, 16, 17, 127, 128, 129, 513, 4099)),
    Case("the thesis's", 128, 1024),
]


def tensors(case: Case, dtype: torch.dtype, device: torch.device) -> SimpleNamespace:
    """The op's inputs for a case, the same on each call."""
    rng = np.random.default_rng(sum(case.name.encode()))
    signal, noise, target = rng.standard_normal((3, case.batch, case.bins))
    noise_only = (np.arange(case.batch) < round(case.batch * case.noise_only)).astype(float)
    if case.kind == "labels between":
        noise_only = rng.random(case.batch)
    named = {"signal": signal, "noise": noise, "target": target, "noise_only": noise_only}
    found = {name: torch.tensor(numbers).to(dtype).to(device) for name, numbers in named.items()}
    if case.kind == "not contiguous":
        found = {name: strided(tensor) for name, tensor in found.items()}
    return SimpleNamespace(**found)


def curro_loss(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    inputs = tuple(vars(tensors(case, dtype, device)).values())
    (loss, grad_signal, grad_noise), bits = twice(lambda: implementation.curro_loss(*inputs))
    truth, truth_signal, truth_noise = reference.curro_loss(*(array(tensor) for tensor in inputs))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    right = loss.dtype == wide and grad_signal.dtype == dtype and grad_noise.dtype == dtype
    return {
        "types": 0.0 if right else WRONG,
        "loss": error(loss, truth),
        "signal": error(grad_signal, truth_signal),
        "noise": error(grad_noise, truth_noise),
        "bits": bits,
    }


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Of the reference itself: (case, quantity, relative error) against loops and finite differences."""
    for case in TINY:
        t = tensors(case, torch.float64, torch.device("cpu"))
        signal, noise, target, y = (array(tensor) for tensor in vars(t).values())
        loss, grad_signal, grad_noise = reference.curro_loss(signal, noise, target, y)
        total = 0.0
        for b, h in np.ndindex(*signal.shape):
            total += (target[b, h] - noise[b, h] - (1 - y[b]) * signal[b, h]) ** 2
        by_signal = differences(lambda s, n=noise, t=target, y=y: reference.curro_loss(s, n, t, y)[0], signal)
        by_noise = differences(lambda n, s=signal, t=target, y=y: reference.curro_loss(s, n, t, y)[0], noise)
        for quantity, found, wanted in (
            ("loss", np.array(loss), np.array(total / case.batch)),
            ("signal", grad_signal, by_signal),
            ("noise", grad_noise, by_noise),
        ):
            size = np.linalg.norm(wanted)
            yield case.name, quantity, float(np.linalg.norm(found - wanted) / (size if size > 0 else 1.0))
