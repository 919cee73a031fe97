"""The choice of a reader, and the errors that all readers share."""

import os

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import FORMATS, read_labels

from .common import write_file


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match="label format is 'excel'; choose one of audacity, raven, csv, birdnet"):
        read_labels(write_file(tmp_path, ""), "excel")


@pytest.mark.parametrize("format", FORMATS)
def test_folders_pipes_and_missing_files_are_refused_in_every_format(tmp_path, format):
    os.mkfifo(tmp_path / "pipe.txt")
    for name, message in ((".", "is a folder"), ("pipe.txt", "not a regular file"), ("gone.txt", "no such file")):
        with pytest.raises(UserError, match=message):
            read_labels(tmp_path / name, format)
