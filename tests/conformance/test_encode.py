from .common import assert_conforms, every_implementation


@every_implementation
def test_encode(backend, kind, device):
    assert_conforms("encode", "encode", backend, kind, device)


@every_implementation
def test_encode_backward(backend, kind, device):
    assert_conforms("encode", "encode_backward", backend, kind, device)
