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
def test_ratio_mask_loss(backend, kind, device):
    assert_conforms("ratio_mask", "ratio_mask_loss", backend, kind, device, cases=40)
