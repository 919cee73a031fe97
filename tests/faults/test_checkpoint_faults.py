"""A checkpoint that is not what was written, or not of this run: refused in one line, and left as it is."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.errors import UserError
from partae_fast.training import trainer as training
from partae_fast.training.checkpoint import Checkpoint, read_losses
from tests.corrupt_files import corrupted


def trainer(path, seed=0, level=1.0, resume=False, **settings):
    random = np.random.default_rng(seed)
    song, noise = (random.random((200, 4)).astype(np.float32) * level for _ in range(2))
    sampler = pf.CropSampler([[song]], [[noise]], frames=16, batch=2, seed=seed)
    model = pf.ConvPartitionedAutoencoder(bins=4, latents=3, taps=3, pool=2, background=0.5)
    return pf.Trainer(
        model, sampler, backend="eager", optimizer="adam", checkpoint=Checkpoint(path, resume=resume), **settings
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint after three steps."""
    path = tmp_path_factory.mktemp("whole") / "c"
    trainer(path).run(3)
    return path.read_bytes()


@pytest.fixture
def path(whole, tmp_path):
    path = tmp_path / "m.checkpoint"
    path.write_bytes(whole)
    return path


def test_whole(path):
    assert trainer(path, resume=True).step == 3


def tensor(name, **values):
    return lambda header, settings, data: header[name].update(values)


def values(name, value, dtype):
    def change(header, settings, data):
        begin, end = header[name]["data_offsets"]
        return data[:begin] + np.full((end - begin) // np.dtype(dtype).itemsize, value, dtype).tobytes() + data[end:]

    return change


def settings_of(**values):
    return lambda header, settings, data: settings.update(values)


def renamed(name, other):
    return lambda header, settings, data: header.update({other: header.pop(name)})


def without(name):
    def change(header, settings, data):
        del settings[name]

    return change


ONE_LOSS = "losses, one a step"
FAULTS = {
    "a tensor missing": (renamed("model.w_enc", "model.w"), "missing: model.w_enc, unknown: model.w"),
    "state of the optimizer missing": (renamed("optimizer.w_enc.mean", "other"), "missing: optimizer.w_enc.mean"),
    "state of another shape": (
        tensor("optimizer.w_enc.mean", shape=[36]),
        r"optimizer.w_enc.mean is .* \(36,\), expected",
    ),
    "weights of another type": (tensor("model.w_enc", dtype="I32"), "model.w_enc is torch.int32"),
    "NaN weights": (values("model.w_enc", np.nan, "<f4"), "model.w_enc has NaN or infinite values"),
    "a loss that is NaN": (values("loss", np.nan, "<f8"), "loss has NaN or infinite values"),
    "no losses": (renamed("loss", "model.loss"), ONE_LOSS),
    "losses of another type": (tensor("loss", dtype="F32", shape=[6]), ONE_LOSS),
    "losses in two dimensions": (tensor("loss", shape=[3, 1]), ONE_LOSS),
    "fewer losses than steps": (settings_of(step=4), "must have 4 losses, one a step"),
    "steps that are text": (settings_of(step="3"), "losses, one a step"),
    "no run": (settings_of(run=None), "has no settings of a run"),
    "a run that says nothing": (settings_of(run={}), "a checkpoint of another run"),
    "a model that is a list": (
        lambda header, settings, data: settings["run"].update(config=[4]),
        "has no settings of a run",
    ),
    "no place": (settings_of(place=[1]), "has no settings of a run"),
    "a setting missing": (without("place"), "settings unknown or missing: place"),
    "another version": (
        lambda header, settings, data: header["__metadata__"].update(version="1"),
        "version 1 of the partae-checkpoint format; this program reads version 2",
    ),
    "a model": (
        lambda header, settings, data: header["__metadata__"].update(format="partae-model"),
        "is a partae-model file; a partae-checkpoint file is needed here",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_wrong_with_a_right_checksum(whole, path, change, message):
    content = corrupted(whole, change)
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        trainer(path, resume=True)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "name", ["a loss that is NaN", "no losses", "losses of another type", "fewer losses than steps"]
)
def test_losses_alone(whole, path, name):
    """As a sweep's plot reads them, and `partae info`."""
    path.write_bytes(corrupted(whole, FAULTS[name][0]))
    if name == "a loss that is NaN":
        assert np.isnan(read_losses(path)).all()
    else:
        with pytest.raises(UserError, match=ONE_LOSS):
            read_losses(path)


INPUTS = {
    "a recording": ({"level": 1.0 + 1e-6}, r"of another run \(.*recordings.*; resume with"),
    "the seed": ({"seed": 1}, "seed was 0, is 1"),
    "the penalty": ({"penalty": 1.5}, r"penalty was 0.75, is 1.5"),
}


@pytest.mark.parametrize(("change", "message"), INPUTS.values(), ids=INPUTS)
def test_what_was_changed_since_is_named(path, whole, change, message):
    with pytest.raises(UserError, match=message):
        trainer(path, resume=True, **change)
    assert path.read_bytes() == whole


def test_a_loss_that_turns_nan_keeps_the_checkpoint_before(path, whole, monkeypatch):
    """See tests/cli/test_train.py for what the command line says of it, and tests/training for every back-end."""
    real = training.train_steps

    def turning(runs, first, steps, *backend):
        return real(runs, first, steps, *backend).masked_fill(torch.arange(first, first + steps) == 5, torch.nan)

    monkeypatch.setattr(training, "train_steps", turning)
    resumed = trainer(path, resume=True)
    with pytest.raises(UserError, match=r"the loss is nan at step 5; try a lower learning rate"):
        resumed.run(20)
    assert resumed.step == 5 and path.read_bytes() == whole


def test_weights_that_turn_nan_keep_the_checkpoint_before(path, whole):
    resumed = trainer(path, resume=True)
    resumed.model.w_enc.data[0, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"w_enc has NaN or infinite values after 3 steps; the checkpoint is kept"):
        resumed.save_checkpoint()
    assert path.read_bytes() == whole
