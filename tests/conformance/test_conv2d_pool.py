from .common import assert_conforms, every_implementation


@every_implementation
def test_conv2d_pool(backend, kind, device):
    assert_conforms("conv2d_pool", "conv2d_pool", backend, kind, device)


@every_implementation
def test_conv2d_pool_backward(backend, kind, device):
    assert_conforms("conv2d_pool", "conv2d_pool_backward", backend, kind, device)
