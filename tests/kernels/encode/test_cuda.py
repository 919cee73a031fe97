"""The division of the work by the CUDA C kernel of encode, and its refusals."""

import pytest
import torch

from partae_fast.conformance import cuda_shim
from partae_fast.conformance.encode import BEYOND, LARGER, TINY, random_cases
from partae_fast.kernels import BackendUnavailable
from partae_fast.kernels._cuda.common import GPU
from partae_fast.kernels.encode import cuda

CASES = [*TINY, *LARGER, *BEYOND, *random_cases(1, 50)]


@pytest.mark.parametrize("precision", cuda.PRECISIONS)
@pytest.mark.parametrize("name", ["GPU", "shim"])
def test_a_tile_fits_every_gpu_and_covers_the_sums(name, precision):
    target = GPU if name == "GPU" else cuda_shim.TARGET if precision == "ffma" else cuda_shim.WARPS
    vector, rows = (4, 2 * target.frames) if precision == "ffma" else (8, 16)
    for case in CASES:
        pool = min(case.pool, case.frames)
        tile = cuda.tile_of(target, case.bins, case.latents, case.taps, pool, precision)
        assert tile.shared(precision) <= target.shared, case
        assert tile.rows % rows == tile.bins_each % vector == tile.latents_each % vector == 0
        assert tile.rows >= tile.windows_each * pool or tile.windows_each == 1
        assert 1 <= tile.taps_each <= case.taps and 1 <= tile.slices <= tile.bins_each // vector
        tasks = 2 * tile.rows if precision != "ffma" else tile.rows // target.frames * tile.latents_each // 4
        assert tile.slices * tasks <= target.threads


def test_the_paper_configuration_fills_a_GPU():
    tile = cuda.tile_of(GPU, 32, 32, 9, 16)
    assert (tile.windows_each, tile.rows, tile.slices) == (4, 64, 4)
    assert (tile.bins_each, tile.taps_each) == (32, 9)  # the sums have one part


def test_tensors_on_the_cpu_are_refused():
    with pytest.raises(BackendUnavailable, match="needs tensors on a CUDA device and these are on cpu; move them or"):
        cuda.encode(torch.rand(1, 4, 2), torch.rand(1, 2, 3), 2, None, None)
