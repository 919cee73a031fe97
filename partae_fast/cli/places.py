"""Where `partae train` writes: checks before the work begins, and what a stopped run leaves behind."""

import logging
from pathlib import Path

from ..atomic import check_writable
from ..errors import UserError

logger = logging.getLogger("partae_fast")


def checkpoint_path(out: str) -> Path:
    """Where the checkpoint of a model stands while it is trained."""
    return Path(f"{out}.checkpoint")


def check_places(out: Path, checkpoints: list[Path], resume: bool, overwrite: bool) -> None:
    """Raise UserError where model or checkpoints could not be written, or exist and may not be replaced."""
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


def stopped(checkpoint: Path) -> str:
    """What to say when training was interrupted."""
    if not checkpoint.exists():
        return "stopped before the first checkpoint; nothing was written"
    return f"stopped; the checkpoint is {checkpoint}: the same command with --resume continues from there"
