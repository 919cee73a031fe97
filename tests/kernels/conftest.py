"""Fixtures of the kernels' tests."""

import pytest
import torch


@pytest.fixture
def thread_count():
    """Set PyTorch's number of threads for a test; work of any size then wakes the workers."""
    from partae_fast.kernels._cpu import threads

    before, worth = torch.get_num_threads(), threads.WORTH_WAKING
    threads.WORTH_WAKING = 0
    yield torch.set_num_threads
    torch.set_num_threads(before)
    threads.WORTH_WAKING = worth
