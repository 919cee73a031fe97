"""Tests of the error when memory runs out.

tests/denoising tests how denoising continues.
"""

import pytest
import torch

from partae_fast.cli import info
from partae_fast.cli import train as train_verb
from partae_fast.errors import is_out_of_memory
from tests.cli.conftest import FAST

ERRORS = {
    "host, error of Python": MemoryError(),
    "host, error of PyTorch": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4611686018427387904 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity of"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_out_of_memory(partae, here, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    before = sorted(here.iterdir())
    monkeypatch.setattr(train_verb, "fit", fail)
    code, out, err = partae("train", "song.wav", "--noise", "noise.wav", "--out", "new.safetensors", *FAST, "--quiet")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("partae train: memory ran out; close other programs") and sorted(here.iterdir()) == before


def test_error_of_pytorch_on_the_host_is_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(9, "Bad file descriptor"), KeyError("x")])
def test_other_errors_are_not_hidden(partae, monkeypatch, error):
    def fail(args):
        raise error

    monkeypatch.setattr(info, "run", fail)
    with pytest.raises(type(error)):
        partae("info")
