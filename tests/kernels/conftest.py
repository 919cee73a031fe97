"""What tests of the kernels share."""

import pytest
import torch


@pytest.fixture
def thread_count():
    """Set torch's thread count for a test; every size of work then wakes the workers."""
    from partae_fast.kernels._cpu import threads

    before, worth = torch.get_num_threads(), threads.WORTH_WAKING
    threads.WORTH_WAKING = 0
    yield torch.set_num_threads
    torch.set_num_threads(before)
    threads.WORTH_WAKING = worth
