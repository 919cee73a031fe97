"""Fixtures: those of tests/cli, a full disk and locked folders."""

import contextlib
import os
import resource
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import here, material, partae  # noqa: F401 (fixtures)


@pytest.fixture
def full_disk():
    """Return full_disk(limit), a context that limits files to `limit` bytes."""

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
    """Return locked(mode, *folders), a context in which folders have a mode.

    Root runs as nobody in it.
    """

    @contextlib.contextmanager
    def lock(mode: int, *folders: Path):
        enter = stat.S_IXGRP | stat.S_IXOTH  # the user nobody cannot enter pytest's folders
        modes = {parent: parent.stat().st_mode | enter for folder in folders for parent in folder.parents}
        modes |= dict.fromkeys(folders, mode)
        before = {folder: folder.stat().st_mode for folder in modes}
        changed = {folder: mode for folder, mode in modes.items() if mode != before[folder]}
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
