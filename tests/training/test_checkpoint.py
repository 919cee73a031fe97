"""A resumed run has the bits of one without a stop; a checkpoint of another run is refused with the differences."""

import os

import pytest
import torch

from partae_fast import checked_safetensors
from partae_fast.errors import UserError
from partae_fast.models.conv_partitioned import ConvPartitionedAutoencoder
from partae_fast.models.state import tensors_of
from partae_fast.models.storage import describe, load
from partae_fast.training.checkpoint import Checkpoint
from partae_fast.training.trainer import Trainer


@pytest.mark.parametrize("optimizer", ["adadelta", "adam", "sgd", "nesterov"])
@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_resume_equals_one_run_bit_for_bit(tmp_path, optimizer, backend, make_trainer):
    settings = {"optimizer": optimizer, "backend": backend}
    whole = make_trainer(**settings)
    whole.run(20)
    for _ in range(2):  # the first starts without a checkpoint
        part = make_trainer(**settings, checkpoint=Checkpoint(tmp_path / "c", resume=True))
        part.run(10)
    assert part.history == whole.history
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, part.model.state_dict()[name]), name


def test_checkpoints_are_written_during_training(tmp_path, monkeypatch, make_trainer):
    steps = []
    trainer = make_trainer(checkpoint=Checkpoint(tmp_path / "c", every=0))
    write = trainer.save_checkpoint
    monkeypatch.setattr(trainer, "save_checkpoint", lambda: (write(), steps.append(describe(tmp_path / "c")["step"])))
    trainer.run(200)
    assert len(steps) >= 3
    assert steps == sorted(set(steps))
    assert steps[-1] == 200
    assert os.listdir(tmp_path) == ["c"]


def test_an_existing_checkpoint_is_replaced_only_with_overwrite(tmp_path, make_trainer):
    make_trainer(checkpoint=tmp_path / "c").run(3)
    with pytest.raises(UserError, match="a checkpoint exists; resume it, overwrite it or name another"):
        make_trainer(checkpoint=tmp_path / "c")
    trainer = make_trainer(checkpoint=Checkpoint(tmp_path / "c", overwrite=True))
    assert trainer.step == 0
    trainer.run(1)
    assert describe(tmp_path / "c")["step"] == 1


DIFFERENCES = [
    ({"penalty": 0.5}, {}, {}, "penalty was 0.75, is 0.5"),
    ({"optimizer": "adam"}, {}, {}, "optimizer was adadelta, is adam"),
    ({"learning_rate": 0.5}, {}, {}, "learning_rate was 1.0, is 0.5"),
    ({"options": {"weight_decay": 0.1}}, {}, {}, "weight_decay was 0.0, is 0.1"),
    ({}, {"batch": 5}, {}, "items in a batch was 4, is 5"),
    ({}, {"frames": 40}, {}, "frames in a crop was 48, is 40"),
    ({}, {"noise_only": 0.5}, {}, "share of noise-only items was 0.25, is 0.5"),
    (
        {},
        {"seed": 1},
        {},
        "the recordings, their labels or their band differ; seed was 0, is 1",
    ),
    ({}, {}, {"pool": 4}, "config.pool was 8, is 4"),
    ({}, {}, {"latents": 9}, "config.latents was 8, is 9"),
]


@pytest.mark.parametrize(("training", "sampling", "modelling", "message"), DIFFERENCES)
def test_a_checkpoint_of_another_run_is_refused_with_the_differences(
    tmp_path, training, sampling, modelling, message, make_trainer, make_sampler
):
    make_trainer(checkpoint=tmp_path / "c").run(2)
    settings = {"bins": 6, "latents": 8, "taps": 3, "pool": 8} | modelling
    model = ConvPartitionedAutoencoder(**settings)
    with pytest.raises(UserError, match=message):
        checkpoint = Checkpoint(tmp_path / "c", resume=True)
        Trainer(model, make_sampler(**sampling), backend="eager", checkpoint=checkpoint, **training)


def test_options_that_an_older_checkpoint_lacks_have_their_defaults(tmp_path, make_trainer):
    trainer = make_trainer(checkpoint=tmp_path / "c")
    config = trainer._run["config"]
    del trainer._run["weight_decay"], config["negative_slope"], config["rectified_output"]
    trainer.run(2)
    run = describe(tmp_path / "c")["run"]
    assert "weight_decay" not in run and "negative_slope" not in run["config"]
    assert make_trainer(checkpoint=Checkpoint(tmp_path / "c", resume=True)).step == 2
    with pytest.raises(UserError, match=r"weight_decay was 0\.0, is 0\.1"):
        make_trainer(checkpoint=Checkpoint(tmp_path / "c", resume=True), options={"weight_decay": 0.1})


def test_a_checkpoint_with_the_older_name_leak_resumes(tmp_path, make_trainer):
    trainer = make_trainer(checkpoint=tmp_path / "c")
    trainer._run["config"]["leak"] = trainer._run["config"].pop("negative_slope")
    trainer.run(2)
    config = describe(tmp_path / "c")["run"]["config"]
    assert "leak" in config and "negative_slope" not in config
    assert make_trainer(checkpoint=Checkpoint(tmp_path / "c", resume=True)).step == 2


def test_another_back_end_resumes_with_a_warning(tmp_path, caplog, make_trainer):
    make_trainer(checkpoint=tmp_path / "c").run(2)
    trainer = make_trainer(checkpoint=Checkpoint(tmp_path / "c", resume=True), backend="auto")
    assert trainer.step == 2
    assert "not to the same bits: backend was eager, is auto" in caplog.text


def test_a_damaged_checkpoint_is_refused_and_a_checkpoint_is_no_model(tmp_path, make_trainer):
    path = tmp_path / "c"
    make_trainer(checkpoint=path).run(2)
    with pytest.raises(UserError, match="is a partae-checkpoint file; a partae-model file is needed here"):
        load(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="cut short"):
        make_trainer(checkpoint=Checkpoint(path, resume=True))
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="damaged"):
        make_trainer(checkpoint=Checkpoint(path, resume=True))


def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path, monkeypatch, make_trainer):
    path = tmp_path / "c"
    trainer = make_trainer(checkpoint=path)
    trainer.run(2)
    before = path.read_bytes()

    def power_cut(source, target):
        raise RuntimeError("gone")

    monkeypatch.setattr(os, "replace", power_cut)
    with pytest.raises(RuntimeError, match="gone"):
        trainer.run(2)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["c"]


def test_a_checkpoint_has_all_state_as_safetensors(tmp_path, make_trainer, make_model):
    make_trainer(checkpoint=tmp_path / "c", optimizer="adam").run(2)
    file = checked_safetensors.read(tmp_path / "c")
    names = set(file.tensors)
    assert {f"model.{name}" for name in tensors_of(make_model())} <= names
    assert {f"optimizer.{i}.{name}" for i in ("w_enc", "w_dec") for name in ("mean", "square")} <= names
    assert file.tensors["loss"].shape == (2,)
    assert set(file.settings) == {"step", "run", "place", "program"}
