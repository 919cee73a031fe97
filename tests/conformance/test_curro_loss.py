from .common import assert_conforms, every_implementation


@every_implementation
def test_curro_loss(backend, kind, device):
    assert_conforms("curro_loss", "curro_loss", backend, kind, device, cases=24)
