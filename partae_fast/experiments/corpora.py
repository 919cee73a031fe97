"""The folder of the corpora that `bench/corpora` makes, and of each paper's recordings in it."""

import logging
import os
from pathlib import Path

logger = logging.getLogger("partae_fast")

VARIABLE = "PARTAE_CORPORA"  # the environment variable that names the folder
# The end of an error if there are no recordings.
MISSING = f"no recordings; give --data, or make the corpora with `python -m partae_fast.bench.corpora` ({VARIABLE})"


def corpora_folder() -> Path:
    """Return the folder of the corpora: PARTAE_CORPORA, or by default ~/.local/share/partae_fast/corpora."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get(VARIABLE) or Path(data) / "partae_fast" / "corpora")


def recordings_of(paper: str) -> Path | None:
    """Return the folder of a paper's recordings in the corpora, or None if it was not made; one line says which."""
    folder = corpora_folder() / paper
    if folder.is_dir():
        logger.info("recordings: %s, a small run; choose others with --data", folder)
        return folder
    logger.info("%s: no such folder; make it with `python -m partae_fast.bench.corpora`, or set %s", folder, VARIABLE)
    return None
