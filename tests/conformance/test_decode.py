from .common import assert_conforms, in_cuda_c_too


@in_cuda_c_too
def test_decode(backend, kind, device):
    assert_conforms("decode", "decode", backend, kind, device)


@in_cuda_c_too
def test_decode_backward(backend, kind, device):
    assert_conforms("decode", "decode_backward", backend, kind, device)
