"""Tests of the choice of a library for matrix products, and of products by NumPy's OpenBLAS on our threads."""

import contextlib

import pytest
import torch

from partae_fast.kernels._cpu import openblas as openblas_module
from partae_fast.kernels._cpu import products


@pytest.fixture
def openblas(monkeypatch):
    """Choose OpenBLAS whatever the processor, for products of any size; return it."""
    monkeypatch.setattr(products, "_is_amd", lambda: True)
    monkeypatch.setattr(products, "LARGE_PRODUCT", 1)
    products._faster_openblas.cache_clear()
    library = products._faster_openblas()
    if library is None:  # NumPy from conda may have MKL
        products._faster_openblas.cache_clear()
        pytest.skip("this NumPy has no OpenBLAS")
    yield library
    products._faster_openblas.cache_clear()


@pytest.mark.parametrize("transposed", ["neither", "first", "second"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (128, 300, 513), (257, 300, 128), (256, 70, 256), (3, 2100, 1024)])
def test_openblas_gives_the_product(openblas, shape, transposed, monkeypatch):
    monkeypatch.setattr(torch, "mm", None)  # PyTorch takes no part
    rows, inner, columns = shape
    random = torch.Generator().manual_seed(sum(shape))
    a, b = (torch.randn(size, generator=random) for size in ((rows, inner), (inner, columns)))
    a = a.t().contiguous().t() if transposed == "first" else a
    b = b.t().contiguous().t() if transposed == "second" else b
    truth = a.double() @ b.double()
    error = (products.product(a, b) - truth).square().mean().sqrt() / truth.square().mean().sqrt()
    assert error < 1e-5
    out = torch.full((rows, columns), torch.nan)
    assert products.product(a, b, out) is out and torch.equal(out, products.product(a, b))


def test_the_number_of_threads_changes_no_bit_and_stays_what_it_was(openblas):
    a, b = torch.randn(300, 700), torch.randn(700, 1500)
    before, own = torch.get_num_threads(), openblas.library.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(products.product(a, b))
        assert openblas.library.get_num_threads() == own
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_products_that_overlap_leave_the_number_of_threads():
    class Library:
        threads = 4

        def get_num_threads(self):
            return self.threads

        def set_num_threads(self, threads):
            self.threads = threads

    library = Library()
    context = openblas_module.OneThread(library)
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(context)
    second.enter_context(context)
    first.close()
    assert library.threads == 1  # for the second
    second.close()
    assert library.threads == 4


def test_nan_and_infinity_pass_through(openblas):
    a, b = torch.ones(4, 600), torch.ones(600, 300)
    a[1, 3], a[2, 5] = float("nan"), float("inf")
    y = products.product(a, b)
    assert y[1].isnan().all() and y[2].isinf().all() and (y[[0, 3]] == 600).all()


def test_pytorch_multiplies_other_types_small_matrices_and_on_other_processors(monkeypatch):
    monkeypatch.setattr(products.np, "matmul", None)  # NumPy takes no part
    monkeypatch.setattr(products, "_is_amd", lambda: True)
    products._faster_openblas.cache_clear()
    assert products.product(torch.ones(8, 8), torch.ones(8, 8)).sum() == 512
    monkeypatch.setattr(products, "LARGE_PRODUCT", 1)
    assert products.product(torch.ones(8, 8).double(), torch.ones(8, 8).double()).sum() == 512
    assert products.product(torch.ones(0, 8), torch.ones(8, 8)).shape == (0, 8)
    monkeypatch.setattr(products, "_is_amd", lambda: False)
    products._faster_openblas.cache_clear()
    assert products.product(torch.ones(8, 8), torch.ones(8, 8)).sum() == 512
    products._faster_openblas.cache_clear()
