"""Saving and loading of models; for damaged files, see tests/faults."""

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
from partae_fast.models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder, storage
from partae_fast.models.state import tensors_of
from partae_fast.models.storage import FORMAT, VERSION, describe, load, save

from .small import CLASSES, small_with_settings

RATE = 22050


@pytest.fixture
def model():
    model = ConvPartitionedAutoencoder(bins=5, latents=4, taps=3, pool=2, background=0.5, seed=7)
    model.mean.copy_(torch.arange(5.0))
    model.noise_mean_square.copy_(torch.arange(5.0) + 1)
    return model


@pytest.fixture
def denoising():
    return ConvDenoisingAutoencoder(bins=5, latents=4, taps=3, pool=2, seed=7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def test_saved_model_is_restored(model, path):
    model.spectrogram = Spectrogram(rate=44100, n_fft=256, hop=64, low=2000.0, high=None, bins=5, gain=3.7)
    model.mask = Mask(exponent=1.5)
    save(model, path)
    loaded = load(path)
    assert type(loaded) is type(model)
    assert loaded.config() == model.config()
    assert (loaded.spectrogram, loaded.mask) == (model.spectrogram, model.mask)
    assert model.state_dict().keys() == loaded.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_loaded_model_has_the_saved_class_and_output(model, denoising, path):
    x = torch.rand(2, 20, 5)
    for saved in (model, denoising):
        save(saved, path)
        loaded = load(path)
        assert type(loaded) is type(saved)
        assert loaded.config() == saved.config()
        assert all(torch.equal(a, b) for a, b in zip(loaded.separate(x), saved.separate(x), strict=True))


def test_rectifiers_are_saved_and_older_files_get_the_defaults(model, path):
    leaky = ConvPartitionedAutoencoder(**model.config() | {"negative_slope": 1 / 3, "rectified_output": True})
    x = torch.rand(2, 20, 5)
    save(leaky, path)
    assert load(path).config() == leaky.config()
    assert torch.equal(load(path)(x), leaky(x)) and not torch.equal(leaky(x), model(x))
    save(model, path)
    file = checked_safetensors.read(path)
    removed = {name: file.settings["config"].pop(name) for name in ("negative_slope", "rectified_output")}
    checked_safetensors.write(path, FORMAT, VERSION, file.settings, file.tensors)
    assert removed == {"negative_slope": 0.0, "rectified_output": False}
    assert load(path).config() == model.config()


def test_older_file_with_leak_is_loaded(model, path):
    leaky = ConvPartitionedAutoencoder(**model.config() | {"negative_slope": 1 / 3})
    save(leaky, path)
    file = checked_safetensors.read(path)
    file.settings["config"]["leak"] = file.settings["config"].pop("negative_slope")
    checked_safetensors.write(path, FORMAT, VERSION, file.settings, file.tensors)
    assert b"leak" in path.read_bytes() and b"negative_slope" not in path.read_bytes()
    assert load(path).config() == leaky.config()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_is_restored_bit_for_bit_in_its_type(kind, dtype, path):
    model = small_with_settings(kind).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1 / 3  # not exact in any of the types
    save(model, path)
    loaded = load(path)
    assert (loaded.config(), loaded.spectrogram, loaded.mask) == (model.config(), model.spectrogram, model.mask)
    for name, tensor in tensors_of(model).items():
        assert tensor.dtype == dtype and torch.equal(tensor, tensors_of(loaded)[name]), name
    assert all(tensor["dtype"] == str(dtype).removeprefix("torch.") for tensor in describe(path)["tensors"].values())


def test_tensors_of_several_types_are_rejected(model, path):
    model.w_enc = torch.nn.Parameter(model.w_enc.detach().double())
    with pytest.raises(UserError, match=r"tensors of torch.float32, torch.float64; they must have one type"):
        save(model, path)
    assert not path.exists()


@pytest.mark.parametrize("wrapped", [torch.compile, torch.nn.DataParallel])
def test_wrapped_model_is_saved(model, path, wrapped):
    save(wrapped(model), path)
    assert torch.equal(load(path).w_enc, model.w_enc)


def test_swapped_arguments_are_rejected(model, path):
    with pytest.raises(TypeError, match=r"the model comes first: pf\.save\(model, path\)"):
        save(path, model)


def test_subclass_is_rejected_and_its_state_can_be_loaded(model, path, tmp_path):
    class Subclass(ConvPartitionedAutoencoder):
        pass

    instance = Subclass(**model.config())
    with pytest.raises(
        UserError, match=r"a Subclass cannot be saved: .* ConvPartitionedAutoencoder .*torch\.save\(model"
    ):
        save(instance, path)
    torch.save(instance.state_dict(), tmp_path / "state")
    model.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    save(model, path)


def test_model_without_spectrogram_and_mask_is_restored(model, path):
    model.spectrogram = model.mask = None
    save(model, path)
    loaded = load(path)
    assert loaded.spectrogram is None
    assert loaded.mask is None


def test_equal_models_make_equal_files(model, path, tmp_path):
    save(model, path)
    save(load(path), tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


def test_checksum_is_sha256_of_the_file_with_its_digits_as_zeros(model, path):
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


def test_existing_file_can_be_protected(model, path):
    save(model, path)
    with pytest.raises(UserError, match="exists already"):
        save(model, path, overwrite=False)


def test_unknown_class_is_rejected(path):
    with pytest.raises(UserError, match="Linear cannot be saved"):
        save(torch.nn.Linear(2, 2), path)


def test_describe_returns_plain_values(model, path):
    model.spectrogram = Spectrogram(high=None, bins=5)
    save(model, path)
    contents = describe(path)
    assert contents == json.loads(json.dumps(contents))
    assert contents["kind"] == "conv_partitioned"
    assert contents["config"]["taps"] == 3
    assert contents["spectrogram"]["rate"] == 22050
    assert contents["tensors"]["w_enc"] == {"shape": [3, 5, 4], "dtype": "float32"}
    assert contents["bytes"] == path.stat().st_size
    assert len(contents["sha256"]) == 64


CLAIMS = [
    ({"spectrogram": {"n_fft": 2**27, "hop": 2**26, "low": 0.0, "high": 4 * RATE / 2**27}}, "n_fft is 1.3421773e.08"),
    ({"spectrogram": {"n_fft": 2**18, "hop": 64, "low": 0.0, "high": 4 * RATE / 2**18}}, "hop is 64; it must be at"),
    (
        {"spectrogram": {"rate": 2**31, "low": 0.0, "high": 4 * 2**24}},
        "rate is 2.1474836e.09; it must be at most 10000000",
    ),
    ({"config": {"pool": 10**9}}, "pool is 1000000000; in this file it must be at most 4096"),
    ({"config": {"pool": 9**4000}}, "pool is .*; in this file it must be at most 4096"),
]


@pytest.mark.parametrize(("changes", "message"), CLAIMS)
def test_a_file_that_claims_much_memory_or_time_is_refused(model, path, changes, message):
    """A window of 2^27 samples took 8 GB, and the message blamed the recording."""
    model.spectrogram = Spectrogram(rate=RATE, n_fft=128, hop=64, low=0.0, high=4 * RATE / 128)
    save(model, path)
    file = checked_safetensors.read(path)
    settings = {
        name: {**value, **changes.get(name, {})} if name in changes else value for name, value in file.settings.items()
    }
    checked_safetensors.write(path, FORMAT, VERSION, settings, file.tensors)
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "setting"), [("snmf", "iterations"), ("adaptive_dae", "layers"), ("dae_30", "patch")])
def test_settings_without_a_tensor_of_their_size_are_bounded(path, name, setting):
    kind = next(made for made in map(small_with_settings, CLASSES) if storage.identity(made)["kind"] == name)
    save(kind, path)
    file = checked_safetensors.read(path)
    file.settings["config"][setting] = 10**9
    checked_safetensors.write(path, FORMAT, VERSION, file.settings, file.tensors)
    with pytest.raises(UserError, match=f"{setting} is 1000000000; in this file it must be at most"):
        load(path)
