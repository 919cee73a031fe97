from .common import assert_conforms, every_wider_implementation


@every_wider_implementation
def test_contrastive_loss(backend, kind, device):
    assert_conforms("contrastive", "contrastive_loss", backend, kind, device)
