"""Tests of damaged and forged model files, which are refused.

No code in them is executed.
"""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save

import partae_fast as pf
from partae_fast import checked_safetensors
from partae_fast.errors import UserError
from partae_fast.models.storage import FORMAT, VERSION, describe
from tests.corrupt_files import corrupted, joined, parts, with_right_checksum


class Payload:
    """A pickle that executes code when it is read: here, it creates a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of a small model file, with spectrogram and mask."""
    model = pf.ConvPartitionedAutoencoder(bins=5, latents=4, taps=3, pool=2, background=0.5, seed=7)
    model.spectrogram = pf.Spectrogram(high=None, bins=5)
    path = tmp_path_factory.mktemp("whole") / "m.safetensors"
    pf.save(model, path)
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path):
    """Return refused(content, message), which checks that pf.load refuses it.

    The error is one line.
    """

    def check(content, message):
        path = tmp_path / "bad.safetensors"
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            pf.load(path)
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
        assert path.read_bytes() == content

    return check


# Damage that the checksum or the length in the header reveals.


def test_truncated_file_is_refused(whole, refused):
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in {*range(12), *range(12, len(whole), 13), *range(header - 3, header + 3), len(whole) - 1}:
        refused(whole[:length], "cut short|not a safetensors file")


def test_any_flipped_bit_is_detected(tmp_path):
    """The file is small, so that every byte can be changed."""
    path = tmp_path / "bad"
    checked_safetensors.write(path, FORMAT, VERSION, {"a": 'a "sha256":"b"'}, {"w": torch.ones(3)})
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in (position % 5, 5):  # bit 5 changes the case of letters, also of hexadecimal digits
            path.write_bytes(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
            with pytest.raises(UserError, match=r"damaged|cut short|not a safetensors file") as error:
                checked_safetensors.read(path, FORMAT, VERSION)
            assert "\n" not in str(error.value)


DAMAGE = {
    "empty": (lambda whole: b"", "not a safetensors file"),
    "a byte too many": (lambda whole: whole + b"\0", "damaged: 1 bytes too many"),
    "twice": (lambda whole: whole * 2, "damaged: .* bytes too many"),
    "zeros, as after a power cut": (lambda whole: bytes(len(whole)), "not a safetensors file"),
    "text": (lambda whole: b"the model is in the other folder\n", "not a safetensors file"),
    "header of 2^63 bytes": (lambda whole: (2**63).to_bytes(8, "little") + whole[8:], "not a safetensors file"),
    "header of 100 MB in a smaller file": (
        lambda whole: (100_000_000).to_bytes(8, "little") + whole[8:],
        "not a safetensors file",
    ),
    "header longer than the file": (lambda whole: (2**20).to_bytes(8, "little") + whole[8:], "cut short"),
    "header shorter than it is": (
        lambda whole: (int.from_bytes(whole[:8], "little") - 9).to_bytes(8, "little") + whole[8:],
        "damaged",
    ),
    "header nested deep": (lambda whole: (2**19).to_bytes(8, "little") + b'{"a":' + b"[" * 2**19, "damaged"),
    "header with a long number": (
        lambda whole: (9006).to_bytes(8, "little") + b'{"a":' + b"9" * 9000 + b"}",
        "damaged",
    ),
    "safetensors of another program": (
        lambda whole: joined({"w": entry("F32", [1], 0, 4)}, bytes(4)),
        "another program",
    ),
}


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(("make", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_file_is_refused(whole, refused, make, message):
    refused(make(whole), message)


PATHS = {
    "missing": (lambda path: None, "no such file"),
    "a folder": (os.mkdir, "is a folder; give a file"),
    "a pipe, which no one writes to": (os.mkfifo, "is a pipe or a device; give a file"),
    "a device": (lambda path: os.symlink("/dev/zero", path), "is a pipe or a device; give a file"),
    "a link to nowhere": (lambda path: os.symlink("nowhere", path), "no such file"),
    "a link to itself": (lambda path: os.symlink(path, path), "cannot be read: Too many levels of symbolic links"),
}


@pytest.mark.parametrize(("make", "message"), PATHS.values(), ids=PATHS)
def test_path_that_is_no_plain_file_is_refused(tmp_path, make, message):
    make(tmp_path / "m")
    for read in (pf.load, describe):
        with pytest.raises(UserError, match=message):
            read(tmp_path / "m")


def test_large_file_of_another_program_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "large"
    content = save({"w": torch.ones(2)}, {"format": "pt"})
    path.write_bytes(content)
    os.truncate(path, 2**36)  # 64 GiB, sparse
    with pytest.raises(UserError, match="another program"):
        pf.load(path)
    header, data = parts(content)
    header["__metadata__"] = {"format": FORMAT, "version": VERSION, "settings": "{}", "sha256": "0" * 64}
    path.write_bytes(joined(header, data))
    os.truncate(path, 2**36)
    with pytest.raises(UserError, match="bytes too many"):
        pf.load(path)


# Pickles and similar files are never opened with a library that would execute them.


def raw(payload):
    return pickle.dumps(payload)


def torch_file(payload):
    content = io.BytesIO()
    torch.save(payload, content)
    return content.getvalue()


def old_torch_file(payload):
    content = io.BytesIO()
    torch.save(payload, content, _use_new_zipfile_serialization=False)
    return content.getvalue()


def archive(payload):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("m.safetensors", pickle.dumps(payload))
    return content.getvalue()


def numpy_file(payload):
    content = io.BytesIO()
    np.save(content, np.array([payload], object), allow_pickle=True)
    return content.getvalue()


PICKLES = {"pickle": raw, "torch": torch_file, "torch before zip": old_torch_file, "zip": archive, "numpy": numpy_file}


@pytest.mark.parametrize("kind", PICKLES.values(), ids=PICKLES)
def test_pickle_is_not_unpickled(tmp_path, refused, kind):
    content = kind(Payload(tmp_path / "owned"))
    refused(content, "not a safetensors file; partae reads no pickles")
    with pytest.raises(UserError, match="not a safetensors file"):
        describe(tmp_path / "bad.safetensors")
    assert not (tmp_path / "owned").exists()


def test_pickle_in_a_safetensors_file_is_not_unpickled(tmp_path, whole, refused):
    content = pickle.dumps(Payload(tmp_path / "owned"))
    header, data = parts(whole)
    refused(joined(header, data) + archive(Payload(tmp_path / "owned")), "bytes too many")
    header["__metadata__"]["settings"] = content.decode("latin-1")
    refused(with_right_checksum(header, data), "not a readable")
    assert not (tmp_path / "owned").exists()


# Wrong contents with a right checksum, from another version, another program or an attacker.


def with_offsets(**offsets):
    """Return a change that sets the offsets of tensors."""

    def change(header, settings, data):
        for name, (begin, end) in offsets.items():
            header[name]["data_offsets"] = [begin, end]

    return change


def with_header(name, **values):
    return lambda header, settings, data: header[name].update(values)


def with_settings(**values):
    return lambda header, settings, data: settings.update(values)


def with_config(**values):
    return lambda header, settings, data: settings["config"].update(values)


def filled(name, value):
    """Return a change that fills a tensor with a value."""

    def change(header, settings, data):
        begin, end = header[name]["data_offsets"]
        return data[:begin] + np.full((end - begin) // 4, value, "<f4").tobytes() + data[end:]

    return change


def without(name):
    def change(header, settings, data):
        del header[name]

    return change


def with_tensor(name, **values):
    return lambda header, settings, data: header.update({name: values})


FORGED = {
    # the container
    "overlapping offsets": (with_offsets(std=(0, 20)), "not a readable safetensors file"),
    "offsets beyond the end": (with_offsets(std=(10**6, 10**6 + 20)), "cut short"),
    "offsets beyond 64 bits": (with_offsets(std=(2**70, 2**70 + 20)), "cut short"),
    "offsets below 0": (with_offsets(std=(-20, 0)), "not a readable safetensors file"),
    "offsets that are text": (with_offsets(std=("0", "20")), "damaged, or"),
    "offsets that are nothing": (with_header("std", data_offsets=None), "damaged, or"),
    "a gap between tensors": (without("std"), "not a readable|missing: std"),
    "unknown dtype": (with_header("std", dtype="F33"), "not a readable safetensors file"),
    "dtype that PyTorch has not": (with_header("std", dtype="F4", shape=[40]), "not a readable safetensors file"),
    "dtype of another size": (with_header("std", dtype="F64"), "not a readable safetensors file"),
    "shape of another size": (with_header("std", shape=[6]), "not a readable safetensors file"),
    "shape beyond 64 bits": (with_header("std", shape=[2**40, 2**40]), "not a readable safetensors file"),
    "shape below 0": (with_header("std", shape=[-5]), "not a readable safetensors file"),
    "a tensor of nothing and 2^62 rows": (
        with_tensor("w", dtype="F32", shape=[0, 2**62], data_offsets=[0, 0]),
        "not a readable|unknown: w",
    ),
    "settings that are no JSON": (
        lambda header, settings, data: header["__metadata__"].update(settings="{"),
        "not a readable safetensors file",
    ),
    "metadata that is no text": (lambda header, settings, data: header["__metadata__"].update(format=5), "damaged, or"),
    "settings that are a list": (
        lambda header, settings, data: header["__metadata__"].update(settings="[1]"),
        "its settings are not a JSON object",
    ),
    # tensors
    "NaN weights": (filled("w_enc", np.nan), "NaN or infinite values in w_enc"),
    "infinite weights": (filled("w_dec", np.inf), "NaN or infinite values in w_dec"),
    "std of 0": (filled("std", 0.0), "std that is not positive"),
    "power below 0": (filled("noise_mean_square", -1.0), "noise_mean_square below 0"),
    "wrong dtype": (with_header("std", dtype="I32"), r"std is torch.int32 \(5,\), expected torch.float32 \(5,\)"),
    "wrong shape": (with_header("w_enc", shape=[3, 4, 5]), r"w_enc is .* \(3, 4, 5\), expected .* \(3, 5, 4\)"),
    "no dimensions": (with_header("std", shape=[5, 1]), r"std is .* \(5, 1\), expected .* \(5,\)"),
    # settings
    "another format": (
        lambda header, settings, data: header["__metadata__"].update(format="partae-checkpoint"),
        "is a partae-checkpoint file; a partae-model file is needed here",
    ),
    "a version without end": (
        lambda header, settings, data: header["__metadata__"].update(version="x" * 9999),
        r"version x{120}\.\.\. of the partae-model format",
    ),
    "another version of the format": (
        lambda header, settings, data: header["__metadata__"].update(version="2"),
        "version 2 of the partae-model format; this program reads version 1",
    ),
    "an unknown setting": (with_settings(colour="red"), "settings unknown or missing: colour"),
    "a setting missing": (lambda header, settings, data: settings.pop("mask"), "settings unknown or missing: mask"),
    "an unknown kind": (with_settings(kind="os.system"), "invalid configuration: kind is 'os.system'"),
    "a kind that is no text": (with_settings(kind=["conv_partitioned"]), "invalid configuration"),
    "a configuration that is none": (with_settings(config=None), "invalid configuration"),
    "a configuration unknown": (with_config(colour="red"), "invalid configuration"),
    "a model larger than the file": (with_config(bins=10**6, latents=10**6), "needs more values than the"),
    "a model of 2^70 latents": (with_config(latents=2**70), "needs more values than the"),
    "sizes that are text": (with_config(bins="5"), "bins is '5'; it must be a whole number"),
    "sizes that are fractions": (with_config(pool=2.5), "pool is 2.5; it must be a whole number"),
    "sizes below 1": (with_config(pool=0), "pool is 0; it must be a whole number"),
    "sizes that are no number": (with_config(pool=float("nan")), "pool is nan; it must be a whole number"),
    "a share beyond 1": (with_config(background=2.0), "background is 2.0"),
    "a rectifier that is text": (with_config(rectified_output="yes"), "rectified_output is 'yes'"),
    "a seed beyond 64 bits": (with_config(seed=2**64), "seed"),
    "a spectrogram of other bins": (
        lambda header, settings, data: settings["spectrogram"].update(bins=None, high=11025.0),
        "the spectrogram has 55 bins and the model 5",
    ),
    "a spectrogram that is a list": (with_settings(spectrogram=[1]), "invalid spectrogram"),
    "a spectrogram that lacks a setting": (with_settings(spectrogram={"rate": 5}), "invalid spectrogram"),
    "a spectrogram of a rate beyond all": (
        lambda header, settings, data: settings["spectrogram"].update(rate=9**400),
        "invalid spectrogram",
    ),
    "a mask that is a number": (with_settings(mask=2.0), "invalid mask"),
    "a mask of an exponent that is text": (with_settings(mask={"exponent": "2"}), "invalid mask"),
    "a mask that knows more": (with_settings(mask={"exponent": 2.0, "colour": 1}), "invalid mask"),
}


@pytest.mark.parametrize(("change", "message"), FORGED.values(), ids=FORGED)
def test_wrong_contents_with_a_right_checksum_are_refused(whole, refused, change, message):
    refused(corrupted(whole, change), message)
