"""Two recordings and a model in the current folder, `partae` as a function, and what a disk does at its worst."""

import contextlib
import os
import resource
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import here, material, partae  # noqa: F401 (fixtures)


@pytest.fixture
def full_disk():
    """with full_disk(bytes): no file can become larger than that."""

    @contextlib.contextmanager
    def full(limit):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full


@pytest.fixture
def locked():
    """with locked(mode, *folders): they have that mode, for root too, who is nobody for so long."""

    @contextlib.contextmanager
    def lock(mode: int, *folders: Path):
        enter = stat.S_IXGRP | stat.S_IXOTH  # pytest's own folders are closed to nobody
        wanted = {above: above.stat().st_mode | enter for folder in folders for above in folder.parents}
        wanted |= dict.fromkeys(folders, mode)
        before = {folder: folder.stat().st_mode for folder in wanted}
        changed = {folder: mode for folder, mode in wanted.items() if mode != before[folder]}
        for folder, mode in changed.items():
            folder.chmod(stat.S_IMODE(mode))
        root = os.geteuid() == 0
        if root:
            os.setresuid(65534, 65534, 0)
        try:
            yield
        finally:
            if root:
                os.setresuid(0, 0, 0)
            for folder in changed:
                folder.chmod(stat.S_IMODE(before[folder]))

    return lock
