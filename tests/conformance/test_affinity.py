import pytest

from .common import assert_conforms


@pytest.mark.parametrize(
    ("backend", "kind", "device"),
    [
        ("eager", "float32", "cpu"),
        ("eager", "bfloat16", "cpu"),
        ("cpu", "float32", "cpu"),
        ("cpu", "float64", "cpu"),
    ],
)
def test_affinity_loss(backend, kind, device):
    assert_conforms("affinity", "affinity_loss", backend, kind, device, cases=40)
