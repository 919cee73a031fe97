import pytest

from .common import assert_conforms, every_implementation


@every_implementation
@pytest.mark.parametrize(("op_pass", "cases"), [("dense", 57), ("dense_backward", 56)])
def test_dense(op_pass, cases, backend, kind, device):
    assert_conforms("dense", op_pass, backend, kind, device, cases)
