"""The bound for a library's sums holds for naive sums in any order, and not for sums that lack a term."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from partae_fast.conformance import affinity, conv2d_pool, decode, encode, partitioned_loss, upsample_conv2d
from partae_fast.conformance.candidate import passes
from partae_fast.conformance.tolerances import TOLERANCES, case_bound, library_bound
from partae_fast.kernels import implementation
from partae_fast.reference import affinity as reference


def _sequential(products):
    """Return the sum along the first axis with one float32 accumulator."""
    return np.cumsum(products, axis=0, dtype=np.float32)[-1]


def _blocked(products):
    return _sequential(np.stack([_sequential(part) for part in np.array_split(products, max(1, len(products) // 100))]))


def _in_lanes(products):
    return _sequential(np.stack([_sequential(products[lane::8]) for lane in range(8)]))


ORDERS = {
    "sequential": _sequential,
    "reversed": lambda products: _sequential(products[::-1]),
    "shuffled": lambda products: _sequential(np.random.default_rng(1).permutation(products)),
    "blocked": _blocked,
    "in lanes": _in_lanes,
}


def _relative(result, truth):
    return np.linalg.norm(result - truth) / np.linalg.norm(truth)


def _products(signs, terms):
    rng = np.random.default_rng(terms)
    shape = 2, terms, max(2, min(200, 400_000 // terms))
    draw = rng.random if signs == "positive" else rng.standard_normal
    return draw(shape).astype(np.float32)


def test_cumsum_is_sequential():
    products = np.random.default_rng(0).random(1000).astype(np.float32)
    total = np.float32(0)
    for product in products:
        total = np.float32(total + product)
    assert _sequential(products) == total


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("signs", ["random", "positive"])
def test_dot_products(order, signs):
    for terms in (10, 100, 1000, 10_000, 100_000, 1_000_000):
        a, b = _products(signs, terms)
        truth = np.sum(a.astype(np.float64) * b, axis=0)
        bound = library_bound("float32", terms)
        assert _relative(ORDERS[order](a * b), truth) <= bound, terms
        if terms <= {"random": 100_000, "positive": 5_000}[signs]:
            assert _relative(truth - a[0].astype(np.float64) * b[0], truth) > 8 * bound, terms


@pytest.mark.parametrize("order", ORDERS)
def test_gradient_of_a_filter(order):
    """20,000 positive frames with gradients of random sign."""
    rng = np.random.default_rng(2)
    frames, gradients = rng.random((20_000, 6, 1)), rng.standard_normal((20_000, 1, 5))
    products = frames.astype(np.float32) * gradients.astype(np.float32)
    exact = frames.astype(np.float32).astype(np.float64) * gradients.astype(np.float32)
    truth, bound = exact.sum(0), library_bound("float32", 20_000)
    assert _relative(ORDERS[order](products), truth) <= bound
    assert _relative(truth - exact[7], truth) > 30 * bound


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [5, 10])
def test_affinity_loss(order, size, monkeypatch):
    """The eager back-end sums products over points in the worst order that a library may choose."""
    case = affinity.Case("long", 1, 5_000, size, 2)
    t = affinity.tensors(case, torch.float32, torch.device("cpu"))
    eager = implementation("affinity", "eager")
    library_product = torch.Tensor.__matmul__

    def product(a, b):
        if a.shape[-1] != case.points:
            return library_product(a, b)
        by_point = a[0].T.numpy()[:, :, None] * b[0].numpy()[:, None, :]
        return torch.from_numpy(ORDERS[order](by_point))[None]

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    loss, grad = eager.affinity_loss(*vars(t).values())
    e, labels = t.embeddings.double().numpy(), t.labels.numpy()
    truth, truth_grad = reference.affinity_loss(e, labels, None, 2, "squared")
    bound = case_bound(affinity, "affinity_loss", case, "float32")
    assert _relative(float(loss), truth) <= bound
    assert _relative(grad.double().numpy(), truth_grad) <= bound
    weights = np.ones(labels.shape)
    weights[0, 0] = 0.0
    _, lacking = reference.affinity_loss(e, labels, weights, 2, "squared")
    assert _relative(lacking, truth_grad) > 8 * bound


def test_the_bound_grows_with_the_length_only():
    assert library_bound("float32", 100) == TOLERANCES["float32"]
    assert library_bound("float32", 40_000) == pytest.approx(4 * 200 * 2**-24)
    assert library_bound("float32", 160_000) == pytest.approx(2 * library_bound("float32", 40_000))
    assert library_bound("float64", 1_000_000) == TOLERANCES["float64"]
    assert library_bound("bfloat16", 1_000_000) == TOLERANCES["bfloat16"]


def test_every_pass_has_a_longest_sum():
    for op_pass, op in passes().items():
        assert op_pass in importlib.import_module(f"partae_fast.conformance.{op}").LONGEST_SUM


def test_longest_sums_of_a_case():
    conv = SimpleNamespace(batch=3, frames=37, bins=8, latents=5, taps=9, pool=4)
    assert encode.LONGEST_SUM["encode"](conv) == 72
    assert encode.LONGEST_SUM["encode_backward"](conv) == 45
    assert decode.LONGEST_SUM["decode_backward"](conv) == 72
    assert partitioned_loss.LONGEST_SUM["partitioned_loss"](conv) == 3 * 37 * 8 + 3 * 10 * 5
    maps = SimpleNamespace(batch=2, frames=7, bins=11, channels=3, filters=4, factors=(3, 4))
    assert conv2d_pool.LONGEST_SUM["conv2d_pool_backward"](maps) == 36
    assert upsample_conv2d.LONGEST_SUM["upsample_conv2d_backward"](maps) == 2 * 7 * 11 * 12
