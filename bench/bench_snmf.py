"""Benchmark sparse NMF: inference (activations only) and learning (activations and dictionary).

The peer is scikit-learn's NMF with multiplicative updates of the Kullback-Leibler divergence, without sparsity. It
computes the divergence once, before its first update; partae computes it after every update of a dictionary.
"""

import warnings
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partae_fast.bench.common import Check, Contest, deviation
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.timing import Work
from partae_fast.models import snmf

# Hetherly et al. 2018: nine frames of 257 bins, and dictionaries of 1000 rows.
SHAPES = [{"N": 500, "H": 2313, "K": k} for k in (100, 1000)]
OURS, PEER = "partae snmf", "scikit-learn"
UPDATES = 10  # of each factor, in one call
_PARTS = 10  # number of components that the magnitudes are made of
# The two learn from different initial values, and only partae's dictionary has rows of length 1, so the magnitudes that
# they approximate are similar but not equal. The mean of the magnitudes alone would be off by 0.26.
GATE_OF_LEARNING = 0.1

ACTIVATIONS, LEARNING = "activations", "learning"


@benchmark(
    "snmf",
    passes=(ACTIVATIONS, LEARNING),
    shapes=SHAPES,
    quick={"N": 200, "H": 2313, "K": 100},
    smoke={"N": 30, "H": 20, "K": 5},
    ours=lambda device: [OURS],
    peers=lambda device: [PEER],
    devices=("cpu",),
)
def bench_snmf(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    n, h, k = shape.values()
    random = np.random.default_rng(0)
    magnitudes = random.random((n, _PARTS), np.float32) @ random.random((_PARTS, h), np.float32)
    x, dictionary = torch.from_numpy(magnitudes), snmf.unit_rows(torch.from_numpy(random.random((k, h), np.float32)))
    # An update takes two matrix products; elementwise passes over x are negligible.
    update, once = 4.0 * n * h * k, 4.0 * (n * h + n * k + k * h)

    def learned() -> tuple[Tensor, Tensor]:
        rows, objectives = snmf.learn_dictionary(x, k, 0.0, UPDATES, seed=0)
        return rows, torch.tensor(objectives)

    if op_pass == LEARNING:
        return Contest(
            "snmf",
            op_pass,
            {"x": x},
            ours={OURS: learned},
            peers={PEER: lambda: (torch.from_numpy(_factors(magnitudes, k)[1]),)},
            work=Work(2 * update * UPDATES, once),
            truth=lambda copies: _check_of_learning(copies, k),
            by_library=True,
        )
    return Contest(
        "snmf",
        op_pass,
        {"x": x, "dictionary": dictionary},
        ours={OURS: lambda: (snmf.activations(x, dictionary, 0.0, UPDATES),)},
        peers={PEER: lambda: (torch.from_numpy(_factors(magnitudes, k, dictionary.numpy())[0]),)},
        work=Work(update * UPDATES, once),
        truth=_check_of_activations,
        by_library=True,
    )


def _check_of_activations(t: SimpleNamespace) -> Check:
    truth = snmf.activations(t.x, t.dictionary, 0.0, UPDATES)
    return lambda outputs: [deviation("activations", outputs[0], truth, UPDATES * t.x.shape[1])]


def _check_of_learning(t: SimpleNamespace, bases: int) -> Check:
    """Return a check of the reconstruction; for partae also of the dictionary and the objectives."""
    dictionary, objectives = snmf.learn_dictionary(t.x, bases, 0.0, UPDATES, seed=0)
    truth = _reconstruction(t.x, dictionary)

    def check(outputs):
        reconstruction = _reconstruction(t.x, outputs[0].double()).float()
        yield deviation("the reconstruction", reconstruction, truth, allowance=GATE_OF_LEARNING)
        if len(outputs) > 1:
            terms = UPDATES * t.x.numel()
            yield deviation("the dictionary", outputs[0], dictionary, terms)
            yield deviation("the objectives", outputs[1], torch.tensor(objectives).double(), terms)

    return check


def _reconstruction(x: Tensor, dictionary: Tensor) -> Tensor:
    """Return the approximation of magnitudes x, (N, H), by a dictionary, (K, H)."""
    return snmf.activations(x, dictionary, 0.0, UPDATES) @ dictionary


def _factors(
    x: NDArray[np.float32], bases: int, dictionary: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scikit-learn's activations, (N, K), and dictionary, (K, H), of magnitudes x, (N, H).

    With `dictionary`, only the activations are fitted. Otherwise both start from random values.
    """
    from sklearn.decomposition import non_negative_factorization
    from sklearn.exceptions import ConvergenceWarning

    start = {"init": "random"} if dictionary is None else {"H": dictionary, "update_H": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of updates is fixed
        active, rows, _ = non_negative_factorization(
            x,
            n_components=bases,  # pyright: ignore[reportArgumentType]
            solver="mu",
            beta_loss="kullback-leibler",
            tol=0,
            max_iter=UPDATES,
            random_state=0,
            **start,  # pyright: ignore[reportArgumentType]
        )
    return active, rows
