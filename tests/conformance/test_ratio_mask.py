from .common import assert_conforms, every_wider_implementation


@every_wider_implementation
def test_ratio_mask_loss(backend, kind, device):
    assert_conforms("ratio_mask", "ratio_mask_loss", backend, kind, device)
