"""Sparse NMF: the activations alone, as in inference, and activations and dictionary, as in learning.

The peer is scikit-learn's NMF, by multiplicative updates of the Kullback-Leibler divergence without sparsity. It works
out the divergence before its first update; ours does after each where it learns.
"""

import warnings
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partae_fast.models import snmf

from .common import Check, Contest, deviation
from .timing import Work

# Hetherly et al. 2018: nine frames of 257 bins, dictionaries of 1000 rows.
SHAPES = [{"N": 500, "H": 2313, "K": k} for k in (100, 1000)]
UPDATES = 10  # in a call, of either factor
_PARTS = 10  # that the magnitudes are sums of
# Both learn from starts of their own, and only our dictionary has rows of length 1: what they explain is alike, not the
# same. The mean of the magnitudes alone would be off by 0.26.
GATE_OF_LEARNING = 0.1


def shapes(device: str) -> list[dict[str, int]]:
    return SHAPES if device == "cpu" else []


def contests(shape: dict[str, int], device: str, backends: list[str]) -> list[Contest]:
    n, h, k = shape.values()
    random = np.random.default_rng(0)
    x = random.random((n, _PARTS), np.float32) @ random.random((_PARTS, h), np.float32)
    given, dictionary = torch.from_numpy(x), snmf.unit_rows(torch.from_numpy(random.random((k, h), np.float32)))
    # An update is two products; passes over x count for nothing beside them.
    update, once = 4.0 * n * h * k, 4.0 * (n * h + n * k + k * h)

    def learned() -> tuple[Tensor, Tensor]:
        found, objectives = snmf.learn_dictionary(given, k, 0.0, UPDATES, seed=0)
        return found, torch.tensor(objectives)

    return [
        Contest(
            "snmf activations",
            {"x": given, "dictionary": dictionary},
            ours={"partae snmf": lambda: (snmf.activations(given, dictionary, 0.0, UPDATES),)},
            peers={"scikit-learn": lambda: (torch.from_numpy(_factors(x, k, dictionary.numpy())[0]),)},
            work=Work(update * UPDATES, once),
            truth=_check_of_activations,
            by_library=True,
        ),
        Contest(
            "snmf learning",
            {"x": given},
            ours={"partae snmf": learned},
            peers={"scikit-learn": lambda: (torch.from_numpy(_factors(x, k)[1]),)},
            work=Work(2 * update * UPDATES, once),
            truth=lambda copies: _check_of_learning(copies, k),
            by_library=True,
        ),
    ]


def _check_of_activations(t: SimpleNamespace) -> Check:
    truth = snmf.activations(t.x, t.dictionary, 0.0, UPDATES)
    return lambda outputs: [deviation("activations", outputs[0], truth, UPDATES * t.x.shape[1])]


def _check_of_learning(t: SimpleNamespace, bases: int) -> Check:
    """What a dictionary explains, alike for all; of ours alone the dictionary and the objective of each update too."""
    dictionary, objectives = snmf.learn_dictionary(t.x, bases, 0.0, UPDATES, seed=0)
    truth = _explained(t.x, dictionary)

    def check(outputs):
        explained = _explained(t.x, outputs[0].double()).float()
        yield deviation("what the dictionary explains", explained, truth, allowance=GATE_OF_LEARNING)
        if len(outputs) > 1:
            terms = UPDATES * t.x.numel()
            yield deviation("the dictionary", outputs[0], dictionary, terms)
            yield deviation("the objectives", outputs[1], torch.tensor(objectives).double(), terms)

    return check


def _explained(x: Tensor, dictionary: Tensor) -> Tensor:
    """What a dictionary can explain of magnitudes x (N, H)."""
    return snmf.activations(x, dictionary, 0.0, UPDATES) @ dictionary


def _factors(
    x: NDArray[np.float32], bases: int, dictionary: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activations (N, K) and dictionary (K, H), the given one or a new one, of magnitudes x (N, H)."""
    from sklearn.decomposition import non_negative_factorization
    from sklearn.exceptions import ConvergenceWarning

    given = {"init": "random"} if dictionary is None else {"H": dictionary, "update_H": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many updates and no more are wanted
        active, found, _ = non_negative_factorization(
            x,
            n_components=bases,  # pyright: ignore[reportArgumentType]
            solver="mu",
            beta_loss="kullback-leibler",
            tol=0,
            max_iter=UPDATES,
            random_state=0,
            **given,  # pyright: ignore[reportArgumentType]
        )
    return active, found
