"""The state_dict restores everything that a file does; PyTorch's wrappers are removed."""

import copy
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from partae_fast.errors import UserError
from partae_fast.models import (
    AdaptiveDenoisingAutoencoder,
    ConvPartitionedAutoencoder,
    CurroAutoencoder,
    DenseAutoencoder,
    FeedForwardSeparator,
)
from partae_fast.models.state import SETTINGS, StatefulModel, tensors_of, unwrapped

from .small import CLASSES, small, small_with_settings


def through_torch(state, path):
    torch.save(state, path)
    return torch.load(path, weights_only=True)


def through_safetensors(state, path):
    save_file(state, path)
    return load_file(path)


@pytest.mark.parametrize("through", [through_torch, through_safetensors])
@pytest.mark.parametrize("kind", CLASSES)
def test_state_dict_restores_settings_spectrogram_mask_and_tensors(kind, through, tmp_path):
    model, other = small_with_settings(kind), small(kind)
    assert other.spectrogram != model.spectrogram
    other.load_state_dict(through(model.state_dict(), tmp_path / "state"))
    assert other.config() == model.config()
    assert (other.spectrogram, other.mask) == (model.spectrogram, model.mask)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())
    model.spectrogram = None
    other.load_state_dict(model.state_dict())
    assert other.spectrogram is None


def test_dropout_follows_the_restored_seed():
    model, other = (AdaptiveDenoisingAutoencoder(bins=5, hidden=8, dropout=0.5, seed=seed) for seed in (3, 4))
    other.load_state_dict(model.state_dict())
    batch = torch.rand(6, 5), torch.rand(6, 5)
    assert torch.equal(model.training_loss(batch, 0.0, "eager"), other.training_loss(batch, 0.0, "eager"))


def test_older_state_with_leak_restores_the_negative_slope():
    shape = {"bins": 5, "latents": 4, "taps": 3, "pool": 4}
    model, other = (ConvPartitionedAutoencoder(**shape, negative_slope=slope) for slope in (0.25, 0.0))
    state = model.state_dict()
    settings = bytes(state[SETTINGS].tolist()).replace(b'"negative_slope"', b'"leak"')
    other.load_state_dict(state | {SETTINGS: torch.tensor(list(settings), dtype=torch.uint8)})
    assert b'"leak"' in settings and other.negative_slope == 0.25


@pytest.mark.parametrize("kind", CLASSES)
def test_state_without_settings_restores_only_tensors(kind):
    model, other = small(kind), small_with_settings(kind)
    before = other.spectrogram, other.mask, other.config()
    other.load_state_dict(tensors_of(model), strict=True)
    assert (other.spectrogram, other.mask, other.config()) == before
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in tensors_of(model).items())


def test_state_in_another_module_is_restored():
    def make_parent():
        parent = torch.nn.Module()
        parent.net = small(ConvPartitionedAutoencoder)
        return parent

    model, other = make_parent(), make_parent()
    model.net = small_with_settings(ConvPartitionedAutoencoder)
    other.load_state_dict(model.state_dict())
    assert other.net.spectrogram == model.net.spectrogram and other.net.mask == model.net.mask
    older = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(SETTINGS)}
    other.load_state_dict(older)
    with pytest.raises(RuntimeError, match=r"net\.mean"):
        other.load_state_dict({name: tensor for name, tensor in older.items() if name != "net.mean"})


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            ConvPartitionedAutoencoder,
            {"pool": 8},
            "the state has pool=4, and this ConvPartitionedAutoencoder has pool=8",
        ),
        (
            ConvPartitionedAutoencoder,
            {"taps": 5, "pool": 8},
            "the state has pool=4, taps=3, and .* has pool=8, taps=5",
        ),
        (CurroAutoencoder, {"statistics": "batch"}, "the state has statistics='running', and"),
        (DenseAutoencoder, {"activation": "relu"}, "the state has activation='mrelu', and"),
        (FeedForwardSeparator, {"sources": ["b", "a"]}, r"the state has sources=\['a', 'b'\], and"),
    ],
)
def test_state_with_other_shapes_is_rejected_and_changes_nothing(kind, settings, message):
    model, other = small_with_settings(kind), small(kind, **settings)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(UserError, match=message) as caught:
        other.load_state_dict(model.state_dict())
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.parametrize(
    "entry", [5, torch.rand(3), torch.tensor(list(b"{}")), torch.tensor(list(b'{"config": {}')), {"config": {}}]
)
def test_malformed_settings_are_rejected(entry):
    model = small(ConvPartitionedAutoencoder)
    with pytest.raises(UserError, match=f"the entry {SETTINGS} was not written by partae; remove it"):
        model.load_state_dict({**model.state_dict(), SETTINGS: entry})


def test_settings_with_numpy_numbers_are_stored_as_json():
    import numpy as np

    model = ConvPartitionedAutoencoder(bins=np.int64(5), latents=4, taps=3, pool=2)  # type: ignore[arg-type]
    assert json.loads(bytes(model.state_dict()[SETTINGS].tolist()))["config"]["bins"] == 5


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_settings_spectrogram_and_mask(copied):
    model = small_with_settings(ConvPartitionedAutoencoder)
    other = copied(model)
    assert (other.spectrogram, other.mask, other.config()) == (model.spectrogram, model.mask, model.config())


def test_functional_call_accepts_the_state():
    model, x = small(ConvPartitionedAutoencoder), torch.rand(1, 8, 17)
    doubled = {name: tensor * 2 if name == "w_dec" else tensor for name, tensor in model.state_dict().items()}
    torch.testing.assert_close(torch.func.functional_call(model, doubled, (x,)), 2 * model(x))


@pytest.mark.parametrize(
    "wrapped",
    [
        torch.compile,
        torch.nn.DataParallel,
        lambda model: torch.compile(torch.nn.DataParallel(model)),
    ],
)
def test_wrappers_are_removed(wrapped):
    model = small(ConvPartitionedAutoencoder)
    assert unwrapped(wrapped(model), "save") is model
    assert isinstance(model, StatefulModel)


def test_path_in_place_of_a_model_is_rejected(tmp_path):
    for path in ("m.safetensors", tmp_path / "m.safetensors"):
        with pytest.raises(TypeError, match=r"save: model is the path '.*m.safetensors'; load it first: pf\.load\('"):
            unwrapped(path, "save")
