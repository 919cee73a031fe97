import pytest

from .common import assert_conforms


@pytest.mark.parametrize(
    ("backend", "kind", "device"),
    [
        ("eager", "float32", "cpu"),
        ("eager", "float64", "cpu"),
        ("cpu", "float32", "cpu"),
        pytest.param("eager", "float32", "cuda", marks=pytest.mark.gpu),
        pytest.param("triton", "float32", "cuda", marks=pytest.mark.gpu),
        pytest.param("triton", "tf32", "cuda", marks=pytest.mark.gpu),
        pytest.param("cuda", "float32", "cuda", marks=pytest.mark.gpu),
        pytest.param("cuda", "tf32", "cuda", marks=pytest.mark.gpu),
    ],
)
def test_train_steps(backend, kind, device):
    assert_conforms("train_steps", "train_steps", backend, kind, device)
