import pytest

from .common import assert_conforms


@pytest.mark.parametrize("rule", ["adadelta", "adam", "sgd", "nesterov", "nadam", "clipped_sgd"])
@pytest.mark.parametrize(
    ("backend", "kind"), [("eager", "float32"), ("eager", "float64"), ("cpu", "float32"), ("cpu", "float64")]
)
def test_optimiser(rule, backend, kind):
    assert_conforms("optimiser", rule, backend, kind, "cpu")
