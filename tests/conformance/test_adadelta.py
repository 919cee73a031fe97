import pytest

from .common import assert_conforms


@pytest.mark.parametrize(
    ("backend", "kind"), [("eager", "float32"), ("eager", "float64"), ("cpu", "float32"), ("cpu", "float64")]
)
def test_adadelta(backend, kind):
    assert_conforms("adadelta", "adadelta", backend, kind, "cpu")
