from .common import assert_conforms, every_implementation


@every_implementation
def test_upsample_conv2d(backend, kind, device):
    assert_conforms("upsample_conv2d", "upsample_conv2d", backend, kind, device)


@every_implementation
def test_upsample_conv2d_backward(backend, kind, device):
    assert_conforms("upsample_conv2d", "upsample_conv2d_backward", backend, kind, device)
