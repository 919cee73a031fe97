"""The division of the sparse sums' work in CUDA C."""

import pytest

from partae_fast.conformance import cuda_shim
from partae_fast.conformance.decode import BEYOND, LARGER, TINY, random_cases
from partae_fast.kernels._cuda.common import GPU
from partae_fast.kernels._cuda.frame_windows import part_count, scatter_tile
from partae_fast.kernels.shapes import pool_range, window_count


@pytest.mark.parametrize("target", [GPU, cuda_shim.TARGET], ids=["GPU", "shim"])
def test_a_tile_fits_every_gpu_and_has_room_for_the_windows_that_reach_it(target):
    for case in [*TINY, *LARGER, *BEYOND, *random_cases(1, 50)]:
        windows = window_count(case.frames, case.pool)
        least, most = pool_range(case.frames, windows)
        tile = scatter_tile(target, case.bins, case.latents, case.taps, least)
        room = min(tile.windows_most(least), windows)
        assert tile.shared(room) <= target.shared, case
        assert tile.rows * tile.bins_each <= 4 * target.outputs * target.threads
        for first_frame in range(0, case.frames, tile.rows):
            reach0 = first_frame + case.taps // 2 - (case.taps - 1)
            last_window = min((first_frame + tile.rows - 1 + case.taps // 2) // least, windows - 1)
            assert last_window - max(reach0, 0) // most + 1 <= room, (case, first_frame)


def test_parts_of_a_weight_gradient_depend_on_shapes_alone():
    assert part_count(512, 9216) == 64  # the paper's: 8 windows each
    assert part_count(1, 1) == 1
    assert part_count(10**6, 9216) == 256
    assert part_count(10**6, 2**23) == 16  # in at most 32 MB, or 16
