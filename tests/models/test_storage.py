"""Models on disk: what is saved comes back, and a file that is not whole and right is refused in one line."""

import hashlib
import json
import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from partae_fast import sealed
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.denoising.mask import Mask
from partae_fast.errors import UserError
from partae_fast.models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from partae_fast.models.storage import FORMAT, VERSION, describe, load, save


@pytest.fixture
def model():
    made = ConvPartitionedAutoencoder(bins=5, latents=4, taps=3, pool=2, background=0.5, seed=7)
    made.mean.copy_(torch.arange(5.0))
    made.noise_mean_square.copy_(torch.arange(5.0) + 1)
    return made


@pytest.fixture
def denoising():
    return ConvDenoisingAutoencoder(bins=5, latents=4, taps=3, pool=2, seed=7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def test_what_is_saved_comes_back(model, path):
    model.spectrogram = Spectrogram(rate=44100, n_fft=256, hop=64, low=2000.0, high=None, bins=5, gain=3.7)
    model.mask = Mask(exponent=1.5)
    save(model, path)
    again = load(path)
    assert type(again) is type(model)
    assert again.config() == model.config()
    assert (again.spectrogram, again.mask) == (model.spectrogram, model.mask)
    assert model.state_dict().keys() == again.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_each_kind_comes_back_as_itself(model, denoising, path):
    x = torch.rand(2, 20, 5)
    for made in (model, denoising):
        save(made, path)
        again = load(path)
        assert type(again) is type(made)
        assert again.config() == made.config()
        assert all(torch.equal(a, b) for a, b in zip(again.separate(x), made.separate(x), strict=True))


def test_rectifiers_are_saved_and_files_from_before_them_have_none(model, path):
    leaky = ConvPartitionedAutoencoder(**model.config() | {"leak": 1 / 3, "rectified_output": True})
    x = torch.rand(2, 20, 5)
    save(leaky, path)
    assert load(path).config() == leaky.config()
    assert torch.equal(load(path)(x), leaky(x)) and not torch.equal(leaky(x), model(x))
    save(model, path)
    whole = sealed.read(path)
    older = {name: whole.settings["config"].pop(name) for name in ("leak", "rectified_output")}
    sealed.write(path, FORMAT, VERSION, whole.settings, whole.tensors)
    assert older == {"leak": 0.0, "rectified_output": False}
    assert load(path).config() == model.config()


def test_a_model_without_spectrogram_or_mask(model, path):
    model.spectrogram = model.mask = None
    save(model, path)
    again = load(path)
    assert again.spectrogram is None
    assert again.mask is None


def test_equal_models_make_equal_files(model, path, tmp_path):
    save(model, path)
    save(load(path), tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


def test_the_checksum_is_the_one_that_is_described(model, path):
    """Any program can check a file: SHA-256 of the whole file, the digits themselves as zeros."""
    save(model, path)
    with safe_open(path, "pt") as file:
        digits = file.metadata()["sha256"]
    blank = path.read_bytes().replace(digits.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == digits


def test_a_flipped_bit_anywhere_is_caught(path):
    sealed.write(path, FORMAT, VERSION, {"a": 'a "sha256":"b"'}, {"w": torch.ones(3)})
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in (0, 5):  # 5 turns capitals into small letters, hexadecimal digits too
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(UserError):
                sealed.read(path, FORMAT, VERSION)


def test_a_file_cut_anywhere_is_caught(path):
    sealed.write(path, FORMAT, VERSION, {}, {"w": torch.ones(3)})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut short|not a safetensors file"):
            sealed.read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(UserError):
        sealed.read(path)


def test_a_failed_save_keeps_the_old_file(model, path):
    save(model, path)
    before = path.read_bytes()
    with torch.no_grad():
        model.w_dec[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="NaN or infinite values in w_dec"):
        save(model, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_an_existing_file_can_be_protected(model, path):
    save(model, path)
    with pytest.raises(UserError, match="exists already"):
        save(model, path, overwrite=False)


def test_only_known_models_are_saved(path):
    with pytest.raises(UserError, match="Linear cannot be saved"):
        save(torch.nn.Linear(2, 2), path)


def forged(model, path, settings=None, version=VERSION, format=FORMAT, **tensors):
    """A file with a right checksum and something else wrong; a tensor that is None is left out."""
    save(model, path)
    whole = sealed.read(path)
    kept = {n: t for n, t in (whole.tensors | tensors).items() if t is not None}
    sealed.write(path, format, version, whole.settings | (settings or {}), kept)


NAN = torch.full((3, 5, 4), float("nan"))
FORGERIES = [
    ({"w_enc": NAN}, "NaN or infinite values in w_enc"),
    ({"mean": torch.full((5,), float("inf"))}, "NaN or infinite values in mean"),
    ({"std": torch.zeros(5)}, "std that is not positive"),
    ({"w_enc": None}, "tensors missing: w_enc, unknown: none"),
    ({"other": torch.zeros(1)}, "missing: none, unknown: other"),
    ({"w_enc": torch.zeros(3, 5, 4, dtype=torch.float64)}, r"w_enc is torch.float64 .* wanted torch.float32"),
    (
        {"w_enc": torch.zeros(3, 4, 5)},
        r"w_enc is torch.float32 \(3, 4, 5\), wanted torch.float32 \(3, 5, 4\)",
    ),
    ({"version": "2"}, "version 2 of the partae-model format, and version 1 is read here"),
    ({"format": "partae-checkpoint"}, "a partae-checkpoint file, and a partae-model file is wanted"),
    ({"settings": {"kind": "os.system"}}, "kind 'os.system'"),
    ({"settings": {"extra": 1}}, "settings unknown or missing: extra"),
    ({"settings": {"config": {"bins": 5, "colour": 3}}}, "configuration makes no model"),
    ({"settings": {"spectrogram": {"rate": 5}}}, "spectrogram"),
]


@pytest.mark.parametrize(("change", "message"), FORGERIES)
def test_wrong_contents_are_named(model, path, change, message):
    forged(model, path, **change)
    with pytest.raises(UserError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_at_all(model, path, tmp_path):
    cases = {"missing": "no such file", ".": "a folder"}
    for name, content in {
        "empty": b"",
        "text": b"hello, this is text and no model",
        "pickle": pickle.dumps({"w": 1}),
        "riff": b"RIFF\x00\x00\x00\x00WAVEfmt ",
    }.items():
        (tmp_path / name).write_bytes(content)
        cases[name] = "not a safetensors file"
    torch.save(model.state_dict(), tmp_path / "torch")
    cases["torch"] = "not a safetensors file; models are never read from pickles"
    save_file({"w": torch.ones(2)}, tmp_path / "other", metadata={"format": "pt"})
    cases["other"] = "safetensors file of another program"
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_describe_is_plain(model, path):
    model.spectrogram = Spectrogram(high=None, bins=5)
    save(model, path)
    told = describe(path)
    assert told == json.loads(json.dumps(told))
    assert told["kind"] == "conv_partitioned"
    assert told["config"]["taps"] == 3
    assert told["spectrogram"]["rate"] == 22050
    assert told["tensors"]["w_enc"] == {"shape": [3, 5, 4], "dtype": "float32"}
    assert told["bytes"] == path.stat().st_size
    assert len(told["sha256"]) == 64
