"""Checks of the files that `partae train` writes, and its stop message."""

import logging
from pathlib import Path

from ..atomic import check_writable
from ..errors import UserError

logger = logging.getLogger("partae_fast")


def checkpoint_path(out: str) -> Path:
    """Return the path of the checkpoint of the model `out`."""
    return Path(f"{out}.checkpoint")


def check_outputs(out: Path, checkpoints: list[Path], resume: bool, overwrite: bool) -> None:
    """Raise UserError if the model or a checkpoint cannot be written.

    Files that exist need `resume` or `overwrite`.
    """
    check_writable(out, overwrite=True)
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists already; choose another --out, or replace it with --overwrite")
    for path in checkpoints:
        check_writable(path, overwrite=True)
        if path.exists() and not (resume or overwrite):
            raise UserError(
                f"{path}: an earlier run stopped here; continue with --resume, or start again with --overwrite"
            )
    if resume and not checkpoints[0].exists():
        logger.warning("%s: there is no checkpoint to resume; training starts at the first step", checkpoints[0])


def stop_message(checkpoint: Path) -> str:
    """Return the message for a training run that was interrupted."""
    if not checkpoint.exists():
        return "stopped before the first checkpoint; nothing was written"
    return f"stopped; the checkpoint is {checkpoint}: the same command with --resume continues from there"
