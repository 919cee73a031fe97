"""The switches for TF32, in every order in which a user may set PyTorch's old and new names."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from partae_fast.kernels.tf32 import tf32, tf32_allowed
from partae_fast.kernels.train_steps import cuda

CUDNN, CUBLAS = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def switches():
    """Restore both switches; by the old names first, because they also set the new ones."""
    precisions = CUDNN.conv.fp32_precision, CUBLAS.fp32_precision
    yield
    CUDNN.allow_tf32, CUBLAS.allow_tf32 = precisions[0] == "tf32", precisions[1] == "tf32"
    CUDNN.conv.fp32_precision, CUBLAS.fp32_precision = precisions


def allowed() -> tuple[bool, bool]:
    return tf32_allowed("convolution"), tf32_allowed("product")


def test_the_defaults_are_pytorchs():
    """Stock PyTorch convolves in TF32, and multiplies matrices in float32."""
    assert allowed() == (True, False)


def test_old_names_are_followed():
    CUDNN.allow_tf32, CUBLAS.allow_tf32 = False, True
    assert allowed() == (False, True)


def test_new_names_are_followed():
    """Reading the old ones then raises."""
    CUDNN.conv.fp32_precision, CUBLAS.fp32_precision = "ieee", "tf32"
    assert allowed() == (False, True)
    for owner in (CUDNN, CUBLAS):
        with pytest.raises(RuntimeError):
            _ = owner.allow_tf32


def test_a_pytorch_without_the_new_names(monkeypatch):
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(allow_tf32=False))
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=True))
    assert allowed() == (False, True)
    with tf32(False):
        assert allowed() == (False, False)
    assert allowed() == (False, True)


@pytest.mark.parametrize("precisions", [("none", "tf32"), ("ieee", "none"), ("tf32", "ieee")])
@pytest.mark.parametrize("inside", [True, False])
def test_the_context_sets_both_and_restores_them(precisions, inside):
    CUDNN.conv.fp32_precision, CUBLAS.fp32_precision = precisions
    with pytest.raises(KeyError), tf32(inside):
        assert allowed() == (inside, inside)
        assert (CUDNN.allow_tf32, CUBLAS.allow_tf32) == (inside, inside)  # parts of PyTorch read the old names
        raise KeyError
    assert (CUDNN.conv.fp32_precision, CUBLAS.fp32_precision) == precisions


def test_the_context_leaves_the_old_names_readable():
    with tf32(True):
        pass
    assert (CUDNN.allow_tf32, CUBLAS.allow_tf32) == (True, False)
    assert CUDNN.conv.fp32_precision == "tf32"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_convolutions_in_triton_follow_the_switch_for_convolutions():
    from partae_fast.kernels._triton.common import precision_of
    from partae_fast.kernels.train_steps import triton

    x = torch.zeros(1)
    CUDNN.conv.fp32_precision, CUBLAS.fp32_precision = "tf32", "ieee"
    assert (precision_of(x, "convolution"), precision_of(x, "product"), triton.dot_of(x)) == ("tf32", "ieee", "tf32")
    CUDNN.conv.fp32_precision, CUBLAS.fp32_precision = "ieee", "tf32"
    assert (precision_of(x, "convolution"), precision_of(x, "product"), triton.dot_of(x)) == ("ieee", "tf32", "tf32x3")


@pytest.mark.parametrize("precision", ["tf32", "ieee"])
def test_training_steps_in_cuda_follow_the_switch_for_convolutions(precision, monkeypatch):
    CUDNN.conv.fp32_precision, CUBLAS.fp32_precision = precision, {"tf32": "ieee", "ieee": "tf32"}[precision]
    run = SimpleNamespace(w_enc=SimpleNamespace(device="cpu"), shape=(1,) * 6)

    class Prepared(Exception):
        pass

    def prepared(shape, groups, runs, allowed, *others):
        raise Prepared(allowed)

    for name, value in {"refusal": None, "groups_of": 1, "extras_of": ()}.items():
        monkeypatch.setattr(cuda, name, lambda runs, value=value: value)
    monkeypatch.setattr(cuda, "prepared", prepared)
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with pytest.raises(Prepared, match=str(precision == "tf32")):
        cuda.train_steps([run], 0, 1)
