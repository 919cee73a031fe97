"""Processes that train together: `launch` starts them, each runs `python -m tests.training.ranks SCENARIO FOLDER`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.sampling.crops import CropSampler
from partae_fast.training.checkpoint import Checkpoint
from partae_fast.training.distributed import joined
from partae_fast.training.schedules import Stairs
from partae_fast.training.trainer import Trainer

from .conftest import _make_model, _make_sampler, _material

ROOT = Path(__file__).resolve().parents[2]
STEPS = 10
SAMPLING = {"batch of 8": {"batch": 8, "noise_only": 0.3}, "batch of 7": {"batch": 7, "noise_only": 0.3}}


class WholeBatches(CropSampler):
    """Makes its batches in a way of its own."""

    def batch_at(self, step):
        x, noise_only = super().batch_at(step)
        return x + 1, noise_only


class WithUnused(torch.nn.Module):
    """Has a parameter that its loss does not depend on."""

    def __init__(self, bins):
        super().__init__()
        torch.manual_seed(0)
        self.bins, self.layer = bins, torch.nn.Linear(bins, bins)
        self.unused = torch.nn.Parameter(torch.ones(3))
        for name in ("mean", "std", "noise_mean_square"):
            self.register_buffer(name, torch.zeros(bins))

    def training_loss(self, batch, penalty, backend):
        return (self.layer(batch[0]) - batch[0]).square().sum((1, 2)).mean()


def corrupted_sampler():
    (signal,), (noise,) = _material()
    groups = [[(r, 0.5 * r) for r in signal]], [[(r, 0 * r) for r in noise]]
    return CropSampler(*groups, frames=48, batch=5, corruption=_material(1)[1])


TRAININGS = {
    **{
        f"{name}, {backend}": lambda backend=backend, sampling=sampling: (
            _make_model(),
            _make_sampler(**sampling),
            {"backend": backend, "optimizer": "adam"},
        )
        for name, sampling in SAMPLING.items()
        for backend in ("eager", "cpu")
    },
    "targets, corruption and rectifiers": lambda: (
        _make_model(negative_slope=0.25, rectified_output=True),
        corrupted_sampler(),
        {"penalty": 0.0},
    ),
    "a sampler that makes whole batches": lambda: (
        _make_model(),
        WholeBatches(*_material(), frames=48, batch=4),
        {},
    ),
    "an unused parameter": lambda: (WithUnused(6), _make_sampler(), {"optimizer": "nesterov"}),
}


def make_trainer(name, ranks=None, **settings):
    model, sampler, own = TRAININGS[name]()
    return Trainer(model, sampler, ranks=ranks, **own, **settings)


def losses(ranks, folder):
    """The losses of every training, and the weights' bits."""
    results = {}
    for name in TRAININGS:
        trainer = make_trainer(name, ranks)
        assert trainer.fused() is None
        history = trainer.run(STEPS).loss
        weights = b"".join(p.detach().numpy().tobytes() for p in trainer.model.parameters())
        results[name] = {"losses": history, "weights": weights.hex()}
    return results


def resume(ranks, folder):
    """A run in two parts, and one without a stop."""
    path, schedule = folder / "c", Stairs(2 * STEPS)
    whole = make_trainer("batch of 7, cpu", ranks, schedule=schedule)
    whole.run(2 * STEPS)
    make_trainer("batch of 7, cpu", ranks, schedule=schedule, checkpoint=path).run(STEPS)
    resumed = make_trainer("batch of 7, cpu", ranks, schedule=schedule, checkpoint=Checkpoint(path, resume=True))
    first = resumed.step
    resumed.run(STEPS)
    return {
        "first": first,
        "equal losses": resumed.history.loss == whole.history.loss,
        "equal weights": resumed.model.w_dec.equal(whole.model.w_dec),
        "losses": resumed.history.loss,
    }


def interrupt(ranks, folder):
    """Rank 1 is interrupted after 16 steps; the step at which each rank stops."""
    trainer = make_trainer("batch of 8, cpu", ranks, checkpoint=folder / "interrupted")
    take = trainer._take_common
    # As deferred_interrupt fills the list on the main thread of one rank.
    trainer._take_common = lambda steps, interrupted: take(
        steps, interrupted if trainer.step < 16 or ranks.leads else [2]
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.run(1000)
    return trainer.step


def not_finite(ranks, folder):
    trainer = make_trainer("batch of 8, cpu", ranks, learning_rate=1e30)
    with pytest.raises(UserError) as caught:
        trainer.run(100)
    return str(caught.value)


def different_settings(ranks, folder):
    with pytest.raises(UserError) as caught:
        Trainer(_make_model(), _make_sampler(seed=ranks.rank), ranks=ranks)
    return str(caught.value)


def progress(ranks, folder):
    trainer = make_trainer("batch of 8, cpu", ranks, checkpoint=folder / "shown")
    trainer.progress = True
    trainer.run(STEPS)


def own_error(ranks, folder):
    """An error of the model is not taken for a lost rank."""
    trainer = make_trainer("an unused parameter", ranks)
    trainer.model.layer = torch.nn.Linear(3, 3)
    with pytest.raises(RuntimeError) as caught:
        trainer.run(1)
    return type(caught.value).__name__


def lost(ranks, folder):
    """Rank 1 ends after some steps without a word."""
    trainer = make_trainer("batch of 8, cpu", ranks)
    if not ranks.leads:
        trainer.run(STEPS)
        os._exit(1)
    with pytest.raises(UserError) as caught:  # already in the first run if rank 1 ends before this rank
        trainer.run(STEPS)
        trainer.run(10_000)
    return str(caught.value)


EVERYTHING = (losses, resume, interrupt, not_finite, different_settings, progress, own_error, lost)


def launch(count, scenario, folder):
    """What the scenario returns on each rank, and what the ranks print."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.ranks", scenario, str(folder)],
            env=environment
            | {
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(count),
            },
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    results = []
    for rank, error in enumerate(errors):
        path = folder / f"rank{rank}.json"
        assert path.exists(), error
        results.append(json.loads(path.read_text()))
    return results, errors


def main(scenario, folder):
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as ranks:
        results = {}
        for work in EVERYTHING if scenario == "everything" else [globals()[name] for name in scenario.split()]:
            results[work.__name__] = work(ranks, Path(folder))
            Path(folder, f"rank{ranks.rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
