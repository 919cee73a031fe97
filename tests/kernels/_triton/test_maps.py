"""How often the kernels of maps are compiled."""

import inspect

import pytest
import torch

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.runtime.jit import create_function_from_signature

from partae_fast.kernels._triton import maps
from partae_fast.kernels.conv2d_pool import triton as conv2d_pool
from partae_fast.kernels.upsample_conv2d import triton as upsample_conv2d

BACKEND = CUDABackend(GPUTarget("cuda", 90, 32))


@pytest.fixture
def variants(monkeypatch):
    """Return the set of variants, by kernel, that Triton would compile for the launches so far."""
    found: dict[str, set] = {}

    def launch(kernel, programs, /, **arguments):
        bind = create_function_from_signature(inspect.signature(kernel.fn), kernel.params, BACKEND)
        found.setdefault(kernel.fn.__name__, set()).add(str(bind(**arguments)[1]))

    for module in (maps, conv2d_pool, upsample_conv2d):
        monkeypatch.setattr(module, "launch", launch)
    monkeypatch.setattr(maps, "add_up", lambda partials, total: total)
    return found


SHAPES = [(1, 16, 16), (2, 10, 7), (3, 1, 1), (1, 2, 32)]  # B, N, H


def test_upsampling_compiles_one_variant_for_all_shapes_and_scales(variants):
    for batch, frames, bins in SHAPES:
        for scale in ((1, 1), (2, 3), (3, 2), (16, 1)):
            x, weight, bias = torch.rand(batch, frames, bins, 3), torch.rand(3, 3, 3, 5), torch.rand(5)
            out = upsample_conv2d.upsample_conv2d(x, weight, bias, scale, True)
            upsample_conv2d.upsample_conv2d_backward(out, x, weight, out, scale, True, True, True, True)
    # convolve_kernel is also the product of the gradient of x, without a rectifier and with other channels.
    assert {name: len(keys) for name, keys in variants.items()} == {
        "convolve_kernel": 2,
        "boxes_kernel": 1,
        "gradient_of_weight_kernel": 1,
    }


def test_pooling_compiles_one_variant_for_all_shapes(variants):
    tiles = set()
    for batch, frames, bins in SHAPES:
        for pool in ((1, 1), (2, 3), (16, 1)):
            if pool != (1, 1):
                tiles.add(str(conv2d_pool.pool_tile(5, min(pool[0], frames) * pool[1])))
            x, weight, bias = torch.rand(batch, frames, bins, 3), torch.rand(3, 3, 3, 5), torch.rand(5)
            values, positions = conv2d_pool.conv2d_pool(x, weight, bias, pool, True)
            conv2d_pool.conv2d_pool_backward(values, x, weight, values, positions, pool, True, True, True, True)
    # convolve_kernel computes the forward pass of the pool (1, 1), with a bias, and the gradient of x.
    assert {name: len(keys) for name, keys in variants.items()} == {
        "convolve_kernel": 2,
        "convolve_and_pool_kernel": len(tiles),
        "unpool_kernel": 1,
        "gradient_of_weight_kernel": 1,
    }
