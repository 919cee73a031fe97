"""The base class of samplers, a PyTorch `IterableDataset`."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info


class BatchStream(IterableDataset[tuple[Tensor, ...]]):
    """Iterable over the batches of steps 0, 1, 2 ... 2**32 - 1.

    Each iteration starts at step 0. It works with `torch.utils.data.DataLoader(sampler, batch_size=None)`: with W
    workers, worker w makes the batches of steps w, w + W, w + 2W ..., so the loader yields the same batches in the same
    order as without workers. With workers, keep the recordings on the CPU.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in range(first, 2**32, stride):
            self.ready(step)
            yield self.training_batch(step)

    def ready(self, step: int) -> int:
        """Load the data that a step draws from; return the number of steps from `step` on that need no other data."""
        return 2**32 - step

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, ...]:
        """Return the batch of a step, 0 <= step < 2**32, or only the given items of it."""
        raise NotImplementedError

    def training_batch(self, step: int) -> tuple[Tensor, ...]:
        """Return the batch of a step as a model's `training_loss` takes it."""
        return self.batch_at(step)
