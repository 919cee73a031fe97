"""files of models and checkpoints, damaged or of other contents behind a right checksum."""

import functools
import json
import logging
import random
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError
from partae_fast.masking.mask import Mask
from partae_fast.models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from partae_fast.models.storage import describe, load, save
from partae_fast.sampling.crops import CropSampler
from partae_fast.training.checkpoint import Checkpoint, read_losses
from partae_fast.training.trainer import Trainer
from tests.corrupt_files import parts, with_right_checksum

from .damage import WHOLE, damaged
from .limits import within_limits

SIZES = {"bins": 4, "latents": 3, "taps": 2, "pool": 2}
NUMBERS = (*WHOLE, 2**70, 10**30, 9**400, 0.5, 1e-320, 1e308)
ODD = (None, True, False, float("nan"), float("inf"), "", "5", "F32", "conv_denoising", "\x1b[2J", "\ud800", "x" * 5000)
VALUES = (*NUMBERS, *ODD, [], {}, [[]], [0, 0], {"exponent": 2.0}, {"rate": 8000})
FLOATS = (0.0, -0.0, -1.0, 1e38, 1e-45, float("nan"), float("inf"), float("-inf"))
DTYPES = ("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "C64", "F32 ", "")


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """A model of each kind, one without spectrogram and mask, and a checkpoint."""
    plain, full = ConvPartitionedAutoencoder(**SIZES), ConvPartitionedAutoencoder(**SIZES)
    denoising = ConvDenoisingAutoencoder(**SIZES)
    for model in (full, denoising):
        model.spectrogram, model.mask = Spectrogram(high=None, bins=SIZES["bins"]), Mask()
    made = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m")
        for model in (plain, full, denoising):
            save(model, path)
            made.append(path.read_bytes())
        _trainer(Path(folder, "c")).run(2)
        made.append(Path(folder, "c").read_bytes())
    return tuple(made)


@functools.cache
def _sampler() -> CropSampler:
    group = [np.random.default_rng(0).random((60, SIZES["bins"])).astype(np.float32)]
    return CropSampler([group], [group], frames=16, batch=4)


def _trainer(checkpoint: Path, resume: bool = False) -> Trainer:
    model = ConvPartitionedAutoencoder(**SIZES)
    return Trainer(model, _sampler(), backend="eager", checkpoint=Checkpoint(checkpoint, resume=resume))


def target() -> tuple[st.SearchStrategy[bytes], Callable[[bytes, Path], str]]:
    """Files, and what must hold of each: it is read or refused, in one line, soon and in little memory."""
    files = st.deferred(lambda: st.sampled_from(seeds()))
    return st.builds(mutated, st.randoms(use_true_random=True), files, files), check


@within_limits
def check(raw: bytes, folder: Path) -> str:
    """Read a file as `pf.load`, `partae info`, a resumed training and a sweep's plot do; returns what became of it."""
    path = folder / "m"
    path.write_bytes(raw)
    logging.disable(logging.WARNING)  # a run that goes on elsewhere says so, for every file
    try:
        found = _read(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < 1500, str(error)
        found = re.sub(r"\d+", "N", " ".join(str(error).removeprefix(f"{path}: ").split()[:4]))
    finally:
        logging.disable(logging.NOTSET)
    return found


def _read(path: Path) -> str:
    json.dumps(describe(path))
    try:
        load(path)
        return "a model"
    except UserError as error:
        if "a partae-checkpoint file" not in str(error):
            raise
    read_losses(path)
    _trainer(path, resume=True)
    return "a checkpoint"


def mutated(pick: random.Random, content: bytes, other: bytes) -> bytes:
    """Another file: bytes changed, or header, settings or tensors, with a checksum that is right most of the time."""
    if pick.random() < 0.2:
        return _damaged(pick, content, other)
    try:
        header, data = parts(content)
        settings = json.loads(header["__metadata__"]["settings"])
        header["__metadata__"]["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _damaged(pick, content, other)
    for _ in range(pick.choice((1, 1, 1, 2, 3, 8))):
        kind = pick.random()
        if kind < 0.45:
            settings = _changed(pick, settings)
        elif kind < 0.75:
            header = _changed(pick, header)
        elif kind < 0.85:
            _retyped(pick, header)
        else:
            data = _filled(pick, data)
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__"), dict):
        return _framed(json.dumps(header).encode(), data)
    if isinstance(header["__metadata__"].get("settings"), str) and pick.random() < 0.95:
        header["__metadata__"]["settings"] = json.dumps(settings)
    made = with_right_checksum(header, data)
    return _damaged(pick, made, other) if pick.random() < 0.05 else made


def _damaged(pick: random.Random, content: bytes, other: bytes) -> bytes:
    if pick.random() < 0.15:  # the length of the header
        value = pick.choice(WHOLE if pick.random() < 0.5 else (len(content), len(content) - 8))
        return value.to_bytes(9, "little", signed=True)[:8] + content[8:]
    return damaged(pick, content, other)


def _changed(pick: random.Random, node: Any) -> Any:
    """The same JSON with a value somewhere in it replaced, removed, named otherwise, or put in another's place."""
    if isinstance(node, dict) and node and pick.random() < 0.85:
        name = pick.choice(list(node))
        kind = pick.random()
        if kind < 0.7:
            return {**node, name: _changed(pick, node[name])}
        if kind < 0.8:
            return {key: value for key, value in node.items() if key != name}
        if kind < 0.9:
            return {**node, pick.choice(("w", "w_enc", "std", "config", "__metadata__", "", name + " ")): node[name]}
        return {**node, name: node[pick.choice(list(node))]}
    if isinstance(node, list) and node and pick.random() < 0.8:
        place = pick.randrange(len(node))
        return [*node[:place], _changed(pick, node[place]), *node[place + 1 :]]
    if isinstance(node, int | float) and abs(node) < 2**53 and pick.random() < 0.3:
        return node + pick.choice((-4, -1, 1, 4, 0.5))
    return pick.choice(VALUES)


def _retyped(pick: random.Random, header: Any) -> None:
    """Another type for a tensor, of the same bytes where that can be."""
    tensors = [entry for entry in header.values() if isinstance(entry, dict)] if isinstance(header, dict) else []
    if tensors:
        entry = pick.choice(tensors)
        entry["dtype"] = pick.choice(DTYPES)
        if pick.random() < 0.5:
            entry["shape"] = pick.choice(([], [0], [1], [2**62, 0], [5, 1], [-1], [2**40, 2**40], entry.get("shape")))


def _filled(pick: random.Random, data: bytes) -> bytes:
    place = 4 * pick.randrange(len(data) // 4 + 1)
    value = struct.pack("<f", pick.choice(FLOATS)) * pick.choice((1, 3, 100))
    return (data[:place] + value + data[place + len(value) :])[: len(data) if pick.random() < 0.9 else None]


def _framed(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data
