from .common import assert_conforms, in_cuda_c_too


@in_cuda_c_too
def test_encode(backend, kind, device):
    assert_conforms("encode", "encode", backend, kind, device)


@in_cuda_c_too
def test_encode_backward(backend, kind, device):
    assert_conforms("encode", "encode_backward", backend, kind, device)
