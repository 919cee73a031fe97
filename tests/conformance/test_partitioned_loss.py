from .common import assert_conforms, in_cuda_c_too


@in_cuda_c_too
def test_partitioned_loss(backend, kind, device):
    assert_conforms("partitioned_loss", "partitioned_loss", backend, kind, device)
