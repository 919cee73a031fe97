from .common import assert_conforms, every_implementation


@every_implementation
def test_decode(backend, kind, device):
    assert_conforms("decode", "decode", backend, kind, device)


@every_implementation
def test_decode_backward(backend, kind, device):
    assert_conforms("decode", "decode_backward", backend, kind, device)
