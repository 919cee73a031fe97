from .common import assert_conforms, every_wider_implementation


@every_wider_implementation
def test_affinity_loss(backend, kind, device):
    assert_conforms("affinity", "affinity_loss", backend, kind, device)
