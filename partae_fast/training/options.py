"""Options of a training that all systems share: `TrainingOptions`."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ..audio.files import PathLike
from ..errors import UserError
from ..kernels import OPS
from ..kernels.train_steps import RULES
from .distributed import own_device

RESERVOIR_MIB = 1024  # of spectrograms in memory if they are cached on disk


def option(default: Any, help: str = "", **about: Any) -> Any:
    """Return a dataclass field with a help text, from which the command line makes a flag.

    `about` may have metavar, choices, least (the least value of a whole number), and flag=False for no flag.
    """
    return field(default=default, metadata={"help": help, **about})


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training. None leaves a choice to the system.

    steps: total number of training steps, including those of a resumed checkpoint. If the learning rate falls during
        training, a run resumes only with the number of steps that it was started with.
    optimizer, learning_rate: as for `Trainer`; an optimizer other than the system's starts at its own learning rate.
        If a system trains several models, they apply to the first.
    weight_decay: this times a weight is added to its gradient, >= 0.
    seed: decides weights and batches, 0 to 2**64 - 1.
    backend: the back-end that computes the steps; see `pf.backends()`.
    device: None for a GPU if the back-end can use one, else the CPU.
    checkpoint, resume, overwrite, progress: as for `Trainer`. If a system trains several models, the later checkpoints
        are beside the first.
    history: file for the record of the run, in lines of JSON (see `partae_fast.training.record`). A resumed run appends
        to it; otherwise it is replaced.
    tensorboard: folder for the same curves, for `tensorboard --logdir`; needs the extra tensorboard.
    cache: folder for the spectrograms of recordings that are files: several processes compute them once, and this run
        and later ones read them there. None keeps spectrograms in memory, or,
        if they exceed 2 GiB, in a temporary folder beside the checkpoint.
    reservoir: with a cache, MiB of spectrograms in memory at a time (default 1024). Smaller spectrograms are loaded
        completely; larger ones are drawn from a part that is renewed during training (see
        `partae_fast.training.reservoir`), and the bits depend on this number.
    """

    steps: int | None = option(None, "total number of training steps (default: the system's)", least=1, metavar="N")
    optimizer: str | None = option(None, "optimizer (default: the system's)", choices=tuple(RULES))
    learning_rate: float | None = option(
        None, "learning rate (default: the system's, or that of --optimizer)", metavar="X"
    )
    weight_decay: float = option(0.0, "coefficient of the L2 penalty on all weights", metavar="X")
    seed: int = option(0, "seed of weights and batches", least=0, metavar="N")
    backend: str = option(
        "auto", "implementation of the training steps", choices=("auto", *OPS["train_steps"].backends)
    )
    device: str | torch.device | None = option(None, "cpu or cuda (default: a GPU if there is one)", metavar="D")
    checkpoint: PathLike | None = option(None, flag=False)
    resume: bool = option(False, "continue from the checkpoint")
    overwrite: bool = option(False, "replace an existing model or checkpoint")
    progress: bool | None = option(None, flag=False)
    history: PathLike | None = option(None, flag=False)
    tensorboard: PathLike | None = option(None, flag=False)
    cache: PathLike | None = option(
        None, "store spectrograms in this folder (default: keep up to 2 GiB in memory)", metavar="FOLDER"
    )
    reservoir: float | None = option(
        None, f"limit of cached spectrograms in memory, MiB (default: {RESERVOIR_MIB})", least=1, metavar="MIB"
    )

    def steps_or(self, default: int) -> int:
        """Return the number of steps, `default` if it is not set; raises UserError if it is negative."""
        steps = default if self.steps is None else self.steps
        if steps < 0:
            raise UserError(f"steps is {steps}; it must be 0 or more")
        return steps

    def chosen_device(self) -> torch.device:
        """Return the device to train on; raises UserError if it is unknown or missing."""
        return chosen_device(self.device, self.backend)


OPTION_NAMES = tuple(entry.name for entry in fields(TrainingOptions))


def chosen_device(device: str | torch.device | None, backend: str) -> torch.device:
    """Return the device to train on; None is a GPU if the back-end can use one, else the CPU."""
    if device is None:
        return own_device(torch.device("cuda" if torch.cuda.is_available() and backend != "cpu" else "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device!r} is not known; use cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but PyTorch finds no GPU; use cpu, or a CUDA build of PyTorch and a GPU")
    return own_device(chosen)
