from .common import assert_conforms, every_implementation


@every_implementation
def test_partitioned_loss(backend, kind, device):
    assert_conforms("partitioned_loss", "partitioned_loss", backend, kind, device)
