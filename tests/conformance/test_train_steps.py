import pytest

from .common import assert_conforms


@pytest.mark.parametrize(("backend", "kind"), [("eager", "float32"), ("eager", "float64"), ("cpu", "float32")])
def test_train_steps(backend, kind):
    assert_conforms("train_steps", "train_steps", backend, kind, "cpu")
