"""Broken audio files and models, with the expected error messages."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from partae_fast import checked_safetensors

from .conftest import RATE, sound, write


def nothing():
    pass


def header_cut_short():
    Path("bad.wav").write_bytes(Path("song.wav").read_bytes()[:20])


def samples(values):
    return lambda: write("bad.wav", values)


def with_sample(value):
    values = sound(2, 1)
    values[RATE] = value
    return samples(values)


# Each entry: a function that writes bad.wav or leaves it out, and a pattern of the error message.
AUDIO = {
    "missing": (nothing, "no such file"),
    "folder": (lambda: Path("bad.wav").mkdir(), "is a folder|no recordings there"),
    "text": (lambda: Path("bad.wav").write_text("these are the times\n" * 50), "not usable as audio"),
    "empty": (lambda: Path("bad.wav").touch(), "0 bytes"),
    "header cut short": (header_cut_short, "not usable as audio|no samples"),
    "zero frames": (samples(np.zeros((0, 1), np.float32)), "no samples"),
    "nan": (with_sample(np.nan), r"at 1\.000 s is nan"),
    "inf": (with_sample(np.inf), r"at 1\.000 s is inf"),
}
UNFIT_FOR_TRAINING = {
    "silence": (samples(np.zeros((2 * RATE, 1), np.float32)), "every sample is 0"),
    "shorter than 8 pools": (samples(sound(0.05, 1)), "8 pools"),
}


def cut_model():
    content = Path("m.safetensors").read_bytes()
    Path("bad.safetensors").write_bytes(content[: len(content) // 2])


def flip_bit_of_model():
    content = bytearray(Path("m.safetensors").read_bytes())
    content[-1000] ^= 4
    Path("bad.safetensors").write_bytes(content)


def rewrite_model(version="1", **tensors):
    def make():
        file = checked_safetensors.read("m.safetensors")
        checked_safetensors.write("bad.safetensors", file.format, version, file.settings, {**file.tensors, **tensors})

    return make


# Each entry: a function that writes bad.safetensors or leaves it out, and a pattern of the error message.
MODELS = {
    "missing": (nothing, "no such file"),
    "cut short": (cut_model, "cut short"),
    "flipped bit": (flip_bit_of_model, "checksum"),
    "nan weights": (rewrite_model(w_enc=torch.full((5, 128, 64), torch.nan)), "NaN .*w_enc"),
    "another version": (rewrite_model(version="2"), "version 2 .*version 1"),
    "empty": (lambda: Path("bad.safetensors").touch(), "not a safetensors file|0 bytes"),
}


def cases(table):
    return [pytest.param(make, message, id=name) for name, (make, message) in table.items()]


def assert_message(line, message, name):
    assert re.search(message, line) and name in line
