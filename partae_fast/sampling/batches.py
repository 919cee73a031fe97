"""Samplers as iterable datasets of PyTorch's."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info


class BatchStream(IterableDataset[tuple[Tensor, ...]]):
    """Batches without end: iteration yields those of steps 0, 1, 2 and so on, up to step 2**32 - 1.

    Each iteration begins at step 0. `torch.utils.data.DataLoader(sampler, batch_size=None)` takes it: with W workers,
    worker w makes the batches of steps w, w + W, w + 2W ..., so that each step's batch comes once and in the order of
    steps, the same ones as without workers. For workers leave the recordings on the CPU.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in range(first, 2**32, stride):
            self.ready(step)
            yield self.training_batch(step)

    def ready(self, step: int) -> int:
        """Have at hand what a step draws from; returns for how many steps from this one on that is all they need."""
        return 2**32 - step

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, ...]:
        """The batch of a step, 0 <= step < 2**32, or some of its items."""
        raise NotImplementedError

    def training_batch(self, step: int) -> tuple[Tensor, ...]:
        """What a model's `training_loss` takes of a step."""
        return self.batch_at(step)
