"""Numbers in label files, and the time that patterns take for hostile text."""

import importlib
import math
import pkgutil
import re
import time

import pytest

import partae_fast.labels
from partae_fast import checked_safetensors
from partae_fast.errors import UserError
from partae_fast.labels import text


@pytest.mark.parametrize(
    ("field", "value"),
    [("1", 1), ("1.", 1), (".5", 0.5), ("1,25", 1.25), ("+1.5e2", 150), ("-0", 0), (" 2 ", 2), ("1e-320", 1e-320)],
)
def test_numbers_are_read_with_points_and_commas(field, value):
    assert text.number(field, "a time", "x") == value


@pytest.mark.parametrize("field", ["", ".", ",", "1.2.3", "1_0", "\u0661", "1 2", "0x1", "e5", "1e", "--1", "1.5s"])
def test_what_is_no_number_is_refused(field):
    assert not text.is_number(field) and text.floats(["1", field]) is None
    with pytest.raises(UserError, match="x: a time is"):
        text.number(field, "a time", "x")


def test_plain_numbers_are_read_as_one_by_one():
    fields = ["0", "1.", ".5", "0012.250", "1e5"]
    assert text.floats(fields[:4]) == [text.number(field, "", "") for field in fields[:4]]
    assert text.floats(fields) is None and text.floats(["9" * 400]) is None and text.floats([]) == []


@pytest.mark.parametrize(("field", "value"), [("1:2:3", 3723), ("0:00:01,5", 1.5), ("100:59:59.5", 363599.5)])
def test_clock_times_are_read(field, value):
    assert text.seconds(field, "a time", "x") == value


def patterns():
    """Return the patterns that untrusted text is matched with, by name."""
    modules = [checked_safetensors, text]
    for module in pkgutil.iter_modules(partae_fast.labels.__path__, "partae_fast.labels."):
        modules.append(importlib.import_module(module.name))
    return {
        f"{module.__name__.partition('.')[2]}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    }


PIECES = (
    "1",
    "1.",
    ".",
    "1:",
    "0",
    "a",
    "\t",
    " ",
    "\n",
    "e",
    "\t0.1",
    ".wav",
    "\\",
    ".0123abcd-",
    '"',
    "nan",
    "\r\n",
    ",",
)


# Seconds of processor time. Linear growth takes some 0.02 s for 100,000 characters, and quadratic growth 60 s:
# re.search(r"\d+x", "1" * 60_000 + "!") took 22 s.
HANG = 10.0


@pytest.mark.parametrize("name", patterns())
def test_no_pattern_hangs_on_hostile_text(name):
    """A number of 120 kB took minutes."""
    pattern, longest = patterns()[name], 0.0
    for piece in PIECES:
        for start, end in (("", "x"), ("1", "!"), (".", ""), ("\t0.", "\t")):
            content = start + piece * (100_000 // len(piece)) + end
            content = content.encode() if isinstance(pattern.pattern, bytes) else content
            started = time.process_time()
            pattern.fullmatch(content), pattern.search(content)
            longest = max(longest, time.process_time() - started)
    assert longest < HANG


def test_a_long_number_is_refused_without_a_hang(tmp_path):
    (tmp_path / "a.txt").write_text("1" * 1_000_000 + "x\t2\ta\n")
    started = time.process_time()
    with pytest.raises(UserError, match="line 1"):
        partae_fast.labels.read_labels(tmp_path / "a.txt", "audacity")
    (tmp_path / "a.txt").write_text("1" * 1_000_000 + "\t2\ta\n")
    with pytest.raises(UserError, match="line 1: a time is 1111"):
        partae_fast.labels.read_labels(tmp_path / "a.txt")
    assert time.process_time() - started < HANG and math.isinf(float("1" * 400))
