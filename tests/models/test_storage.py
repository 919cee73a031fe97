"""Models on disk: what is saved comes back. Files that are not whole and right: tests/faults."""

import hashlib
import json
import os

import pytest
import torch
from safetensors import safe_open

from partae_fast import checked_safetensors
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError
from partae_fast.masking.mask import Mask
from partae_fast.models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from partae_fast.models.state import tensors_of
from partae_fast.models.storage import FORMAT, VERSION, describe, load, save

from .small import CLASSES, small_with_settings


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
    leaky = ConvPartitionedAutoencoder(**model.config() | {"negative_slope": 1 / 3, "rectified_output": True})
    x = torch.rand(2, 20, 5)
    save(leaky, path)
    assert load(path).config() == leaky.config()
    assert torch.equal(load(path)(x), leaky(x)) and not torch.equal(leaky(x), model(x))
    save(model, path)
    whole = checked_safetensors.read(path)
    older = {name: whole.settings["config"].pop(name) for name in ("negative_slope", "rectified_output")}
    checked_safetensors.write(path, FORMAT, VERSION, whole.settings, whole.tensors)
    assert older == {"negative_slope": 0.0, "rectified_output": False}
    assert load(path).config() == model.config()


def test_files_that_call_the_negative_slope_leak_load(model, path):
    leaky = ConvPartitionedAutoencoder(**model.config() | {"negative_slope": 1 / 3})
    save(leaky, path)
    file = checked_safetensors.read(path)
    file.settings["config"]["leak"] = file.settings["config"].pop("negative_slope")
    checked_safetensors.write(path, FORMAT, VERSION, file.settings, file.tensors)
    assert b"leak" in path.read_bytes() and b"negative_slope" not in path.read_bytes()
    assert load(path).config() == leaky.config()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_comes_back_in_its_type_bit_for_bit(kind, dtype, path):
    made = small_with_settings(kind).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 1 / 3  # no number of float32
    save(made, path)
    again = load(path)
    assert (again.config(), again.spectrogram, again.mask) == (made.config(), made.spectrogram, made.mask)
    for name, tensor in tensors_of(made).items():
        assert tensor.dtype == dtype and torch.equal(tensor, tensors_of(again)[name]), name
    assert all(told["dtype"] == str(dtype).removeprefix("torch.") for told in describe(path)["tensors"].values())


def test_a_mix_of_types_is_refused(model, path):
    model.w_enc = torch.nn.Parameter(model.w_enc.detach().double())
    with pytest.raises(UserError, match=r"tensors of torch.float32, torch.float64; they must be of one type"):
        save(model, path)
    assert not path.exists()


@pytest.mark.parametrize("wrapped", [torch.compile, torch.nn.DataParallel])
def test_a_wrapped_model_is_saved_as_itself(model, path, wrapped):
    save(wrapped(model), path)
    assert torch.equal(load(path).w_enc, model.w_enc)


def test_a_path_and_a_model_in_the_wrong_order_are_refused(model, path):
    with pytest.raises(TypeError, match=r"the model comes first: pf\.save\(model, path\)"):
        save(path, model)


def test_a_subclass_is_not_saved_and_its_state_is(model, path, tmp_path):
    class Mine(ConvPartitionedAutoencoder):
        pass

    mine = Mine(**model.config())
    with pytest.raises(UserError, match=r"a Mine cannot be saved: .* ConvPartitionedAutoencoder .*torch\.save\(model"):
        save(mine, path)
    torch.save(mine.state_dict(), tmp_path / "state")
    model.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    save(model, path)


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
