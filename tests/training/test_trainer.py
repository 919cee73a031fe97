"""The training loop: agrees with the reference, stops on NaN, and writes a complete checkpoint at Ctrl-C."""

import json
import logging
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.kernels import registry
from partae_fast.models.conv_partitioned import ConvPartitionedAutoencoder
from partae_fast.models.storage import describe, load, save
from partae_fast.reference import train_steps as reference
from partae_fast.reference.optimizers import OPTIMIZERS
from partae_fast.sampling.crops import CropSampler
from partae_fast.training import trainer as trainer_module
from partae_fast.training.checkpoint import Checkpoint
from partae_fast.training.schedules import Stairs
from partae_fast.training.steps import train_steps
from partae_fast.training.trainer import Trainer

FRAMES, BATCH = 48, 4  # as in conftest.py


def weights_of(model):
    return {name: getattr(model, name).detach().double().numpy() for name in ("w_enc", "w_dec")}


def rms(values):
    return np.sqrt(np.mean(np.square(values, dtype=np.float64)))


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_ten_steps_agree_with_the_reference(optimizer, backend, make_trainer, material):
    trainer = make_trainer(optimizer=optimizer, backend=backend)
    foreground = trainer.model.foreground.numpy()
    setting = reference.Setting(foreground=foreground, pool=8, penalty=0.75, optimizer=optimizer)
    start = reference.beginner(weights_of(trainer.model))
    truth, losses = reference.train_steps(start, *material(), setting, steps=10, frames=FRAMES, batch=BATCH)
    history = trainer.run(10)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-4)
    for name, weight in weights_of(trainer.model).items():
        assert rms(weight - truth.weights[name]) < 1e-4 * rms(weight), name


def test_training_lowers_the_loss_and_extends_the_history(make_trainer):
    trainer = make_trainer()
    first, second = trainer.run(150), trainer.run(150)
    assert len(first.loss) == len(second.loss) == 150
    assert trainer.history.loss == first.loss + second.loss
    assert trainer.step == 300
    assert np.mean(second.loss[-50:]) < 0.7 * np.mean(first.loss[:20])


def test_equal_settings_give_equal_bits(make_trainer):
    one, other = make_trainer(), make_trainer()
    assert one.run(30).loss == other.run(10).loss + other.run(20).loss
    assert torch.equal(one.model.w_dec, other.model.w_dec)


@pytest.mark.parametrize("over", [10, 25, 3])
def test_a_learning_rate_falls_in_ten_stairs_to_a_tenth(over, make_trainer):
    falling = make_trainer(optimizer="adam", learning_rate=2e-3, schedule=Stairs(over))
    losses = falling.run(12).loss + falling.run(18).loss
    by_hand = make_trainer(optimizer="adam", learning_rate=2e-3)
    for step in range(30):
        by_hand._learning_rate = 2e-3 * (10 - min(9, 10 * step // over)) / 10
        by_hand.run(1)
    assert losses == by_hand.history.loss
    assert falling.model.w_enc.equal(by_hand.model.w_enc)


def test_the_models_statistics_are_the_samplers(make_trainer):
    trainer = make_trainer()
    for name in ("mean", "std", "noise_mean_square"):
        assert torch.equal(getattr(trainer.model, name), getattr(trainer.sampler, name))


@pytest.mark.parametrize("learning_rate", [1e18, 1e38])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_a_remedy(tmp_path, learning_rate, make_trainer):
    path = tmp_path / "c"
    trainer = make_trainer(optimizer="adam", learning_rate=learning_rate, checkpoint=Checkpoint(path, every=0))
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+; try a lower learning rate") as caught:
        trainer.run(500)
    assert f"at step {trainer.step};" in str(caught.value)
    assert all(np.isfinite(trainer.history.loss))
    assert not path.exists() or describe(path)["step"] <= trainer.step


def test_a_good_checkpoint_stays_when_weights_turn_nan(tmp_path, make_trainer):
    trainer = make_trainer(checkpoint=tmp_path / "c")
    trainer.run(3)
    before = (tmp_path / "c").read_bytes()
    with torch.no_grad():
        trainer.model.w_enc[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="w_enc has NaN"):
        trainer.save_checkpoint()
    with pytest.raises(UserError, match="the loss is nan at step 3"):
        trainer.run(200)
    assert (tmp_path / "c").read_bytes() == before


class Interrupting(CropSampler):
    """Interrupts its process while the batch of one step is drawn; its own batch_at makes training go op by op."""

    at, times = -1, 1

    def batch_at(self, step):
        if step == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
        return super().batch_at(step)


@pytest.fixture
def op_by_op(make_model, material):
    """Return a function that makes a Trainer of steps op by op, interrupted while it draws the batch of step `at`."""

    def make(at=-1, times=1, corruption=(), **settings):
        sampler = Interrupting(*material(), frames=FRAMES, batch=BATCH, corruption=corruption)
        sampler.at, sampler.times = at, times
        trainer = Trainer(make_model(), sampler, backend="eager", **settings)
        assert trainer.fused() is None
        return trainer

    return make


def test_op_by_op_agrees_with_whole_steps(op_by_op, make_trainer):
    np.testing.assert_allclose(op_by_op().run(10).loss, make_trainer().run(10).loss, rtol=1e-5)


@pytest.mark.parametrize(
    "rectifiers", [{}, {"negative_slope": 0.25, "rectified_output": True}], ids=["plain", "rectified"]
)
def test_op_by_op_agrees_with_whole_steps_on_corrupted_input(rectifiers, op_by_op, make_model, make_sampler, material):
    corruption = material(1)[1]
    singly, whole = (
        Trainer(make_model(**rectifiers), sampler, backend="eager")
        for sampler in (op_by_op(corruption=corruption).sampler, make_sampler(corruption=corruption))
    )
    assert singly.fused() is None and whole.fused() == "eager"
    np.testing.assert_allclose(singly.run(10).loss, whole.run(10).loss, rtol=1e-5)


def test_op_by_op_agrees_with_whole_steps_on_targets_of_their_own(make_model, material):
    (signal,), (noise,) = material()
    groups = [[(r, 0.5 * r) for r in signal]], [[(r, 0 * r) for r in noise]]
    singly, whole = (
        Trainer(make_model(), sampler(*groups, frames=FRAMES, batch=BATCH), backend="eager")
        for sampler in (Interrupting, CropSampler)
    )
    assert singly.fused() is None and whole.fused() == "eager"
    np.testing.assert_allclose(singly.run(10).loss, whole.run(10).loss, rtol=1e-5)


def test_ctrl_c_completes_the_step_and_writes_a_checkpoint(tmp_path, op_by_op):
    whole = op_by_op()
    whole.run(20)
    trainer = op_by_op(at=6, checkpoint=tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(20)
    assert trainer.step == 7
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = op_by_op(checkpoint=Checkpoint(tmp_path / "c", resume=True))
    assert again.step == 7
    again.run(13)
    assert again.history == whole.history
    assert torch.equal(again.model.w_enc, whole.model.w_enc)


def test_a_second_ctrl_c_stops_at_once(tmp_path, op_by_op):
    trainer = op_by_op(at=6, times=2, checkpoint=tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(20)
    assert trainer.step == 6
    assert op_by_op(checkpoint=Checkpoint(tmp_path / "c", resume=True)).step == 6


def test_an_interrupt_within_an_update_writes_no_checkpoint(tmp_path, op_by_op):
    trainer = op_by_op(checkpoint=tmp_path / "c")
    trainer.run(2)

    def half_an_update(number):
        raise KeyboardInterrupt

    trainer._optimizer.step = half_an_update
    with pytest.raises(KeyboardInterrupt):
        trainer.run(5)
    assert op_by_op(checkpoint=Checkpoint(tmp_path / "c", resume=True)).step == 2


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_a_launch(tmp_path, monkeypatch, times, make_trainer):
    """One waits for the end of the launch; after two the weights may be incomplete, so the last checkpoint stays."""
    launches = []

    def launch(runs, first, steps, backend, preferred):
        launches.append(steps)
        if len(launches) == 4:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return train_steps(runs, first, steps, backend)

    monkeypatch.setattr(trainer_module, "train_steps", launch)
    trainer = make_trainer(checkpoint=Checkpoint(tmp_path / "c", every=0))
    with pytest.raises(KeyboardInterrupt):
        trainer.run(200)
    done = sum(launches) if times == 1 else sum(launches[:-1])
    assert trainer.step == done < 200
    assert make_trainer(checkpoint=Checkpoint(tmp_path / "c", resume=True)).step == done


def test_launches_grow_to_a_quarter_of_a_second(monkeypatch, make_trainer):
    """One step takes a hundredth of a second: a launch may take a quarter."""
    launches, now = [], [0.0]

    def launch(runs, first, steps, backend, preferred):
        launches.append(steps)
        now[0] += 0.01 * steps
        return torch.zeros(1, steps)

    monkeypatch.setattr(trainer_module, "train_steps", launch)
    monkeypatch.setattr(trainer_module.time, "monotonic", lambda: now[0])
    make_trainer().run(100)
    assert launches == [1, 2, 4, 8, 16, 16, 16, 16, 16, 5]


def test_training_goes_on_with_another_back_end_if_one_cannot_launch(make_trainer, monkeypatch, caplog):
    """The failing one was selected when training began."""
    expected = make_trainer(backend="eager").run(4).loss

    def fail(runs, first, steps):
        raise registry.BackendFailed("a kernel cannot be compiled")

    module = SimpleNamespace(train_steps=fail, refusal=lambda runs: None)
    implementation = registry.implementation
    monkeypatch.setattr(
        registry, "implementation", lambda op, name: module if name == "cpu" else implementation(op, name)
    )
    monkeypatch.setattr(registry, "_failures", {})
    trainer = make_trainer(backend="auto")
    assert trainer.fused() == "cpu"
    with caplog.at_level(logging.WARNING, logger="partae_fast"):
        assert trainer.run(4).loss == expected
    (record,) = caplog.records
    assert "back-end cpu is passed over: a kernel cannot be compiled" in record.getMessage()
    with pytest.raises(registry.BackendFailed):
        make_trainer(backend="cpu").run(1)


def test_training_runs_off_the_main_thread(make_trainer):
    trainer = make_trainer()
    thread = threading.Thread(target=trainer.run, args=(5,))
    thread.start()
    thread.join()
    assert trainer.step == 5


def test_recordings_in_bfloat16_train_on_the_eager_back_end(make_model, make_sampler):
    trainer = Trainer(make_model(), make_sampler().to("cpu", torch.bfloat16))
    assert trainer.fused() == "eager"  # the CPU kernels refuse them
    exact = Trainer(make_model(), make_sampler())
    np.testing.assert_allclose(trainer.run(5).loss, exact.run(5).loss, rtol=2e-2)


def test_progress_shows_loss_and_speed_if_true(capsys, make_trainer):
    make_trainer(progress=None).run(3)
    make_trainer(progress=False).run(3)
    assert capsys.readouterr().err == ""
    make_trainer(progress=True).run(3)
    shown = capsys.readouterr().err
    assert "loss=" in shown
    assert "step" in shown
    assert "3/3" in shown


REFUSED = [
    ({"penalty": -1.0}, "penalty is -1.0"),
    ({"penalty": float("nan")}, "penalty is nan"),
    ({"optimizer": "lbfgs"}, "optimizer 'lbfgs' is not known; choose one of adadelta, adam, sgd, nesterov"),
    ({"options": {"rate": 1.0}}, "adadelta has no option 'rate'; it has learning_rate, rho, epsilon, weight_decay"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0"),
    ({"options": {"weight_decay": -0.1}}, "weight_decay is -0.1; it must be 0 or more"),
    ({"options": {"weight_decay": float("nan")}}, "weight_decay is nan"),
    ({"checkpoint": "/nowhere/at/all"}, "does not exist"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_settings_out_of_range_are_refused(change, message, make_trainer):
    with pytest.raises(UserError, match=message):
        make_trainer(**change)


def test_other_bins_and_negative_steps_are_refused(make_trainer, make_sampler):
    with pytest.raises(UserError, match="the model has 7 bins and the recordings 6"):
        Trainer(ConvPartitionedAutoencoder(bins=7), make_sampler())
    with pytest.raises(UserError, match="steps is -1"):
        make_trainer().run(-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_ten_steps_on_the_gpu_agree_with_the_cpu(make_trainer, make_model, make_sampler):
    here = make_trainer()
    there = Trainer(make_model().to("cuda"), make_sampler())
    np.testing.assert_allclose(there.run(10).loss, here.run(10).loss, rtol=1e-4)
    assert there.sampler.source.is_cuda


def test_losses_are_a_list_of_floats_that_json_takes(make_trainer):
    history = make_trainer().run(3)
    assert json.loads(json.dumps(history.loss)) == history.loss
    assert [type(loss) for loss in history.loss] == [float] * 3


@pytest.mark.parametrize("backend", ["eager", "auto"])
def test_a_float64_model_trains_and_can_be_saved_and_loaded(backend, make_model, make_sampler, tmp_path):
    models = make_model().double(), make_model()
    trainer, single = (Trainer(model, make_sampler(), backend=backend) for model in models)
    np.testing.assert_allclose(trainer.run(5).loss, single.run(5).loss, rtol=1e-5)
    save(trainer.model, tmp_path / "m")
    assert torch.equal(load(tmp_path / "m").w_enc, trainer.model.w_enc) and trainer.model.w_enc.dtype == torch.float64


class Halved(ConvPartitionedAutoencoder):
    """A subclass with a loss of its own."""

    def training_loss(self, batch, penalty, backend):
        return super().training_loss(batch, penalty, backend) / 2


class Renamed(ConvPartitionedAutoencoder):
    """A subclass that trains as its base does."""


@pytest.mark.parametrize(("kind", "share"), [(Renamed, 1.0), (Halved, 0.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_subclass_is_trained_by_its_own_loss(kind, share, dtype, make_model, make_sampler):
    trainer = Trainer(kind(**make_model().config()).to(dtype), make_sampler(), backend="eager", optimizer="sgd")
    assert (trainer.fused() is None) == (kind is Halved)
    expected = Trainer(make_model(), make_sampler(), backend="eager", optimizer="sgd").run(1).loss
    np.testing.assert_allclose(trainer.run(1).loss, [share * expected[0]], rtol=1e-5)


def test_a_checkpoint_of_a_subclass_is_refused_before_training(make_model, make_sampler, tmp_path):
    with pytest.raises(UserError, match=r"c: a Renamed cannot be saved: .*; leave out checkpoint to train it"):
        Trainer(Renamed(**make_model().config()), make_sampler(), checkpoint=tmp_path / "c")


class Minimal(torch.nn.Module):
    """A module with the minimal interface of a Trainer."""

    def __init__(self, bins):
        super().__init__()
        self.bins, self.layer = bins, torch.nn.Linear(bins, bins)
        for name in ("mean", "std", "noise_mean_square"):
            self.register_buffer(name, torch.zeros(bins))

    def training_loss(self, batch, penalty, backend):
        return (self.layer(batch[0]) - batch[0]).square().mean()


def test_a_module_of_another_library_is_trained(make_sampler):
    sampler = make_sampler()
    trainer = Trainer(Minimal(sampler.bins), sampler, optimizer="adam")
    losses = trainer.run(60).loss
    assert losses[-1] < losses[0]
    assert torch.equal(trainer.model.mean, sampler.mean)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            torch.nn.Linear(6, 6),
            r"a Linear has no training_loss, no bins, no mean.*; give a model of partae_fast",
        ),
        (torch.nn.ReLU(), "no parameters to train"),
        (None, "a NoneType has no training_loss"),
        ("m.safetensors", r"Trainer: model is the path 'm\.safetensors'; load it first: pf\.load"),
    ],
)
def test_objects_that_cannot_be_trained_are_refused_in_one_line(model, message, make_sampler):
    with pytest.raises(TypeError, match=message) as caught:
        Trainer(model, make_sampler())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapped", [torch.compile, torch.nn.DataParallel])
def test_a_wrapped_model_is_trained_itself(wrapped, make_model, make_sampler, make_trainer):
    model = make_model()
    trainer = Trainer(wrapped(model), make_sampler(), backend="eager")
    assert trainer.model is model
    assert trainer.run(3).loss == make_trainer().run(3).loss


def test_the_keywords_of_version_0_1_are_deprecated_and_still_work(tmp_path, make_trainer, capsys):
    seen = []
    with pytest.warns(DeprecationWarning, match=r"checkpoint=Checkpoint\(path, every, resume, overwrite\)"):
        older = Trainer(
            make_trainer().model,
            make_trainer().sampler,
            backend="eager",
            checkpoint=tmp_path / "c",
            checkpoint_every=5.0,
            resume=True,
            falling_over=20,
            watch=seen.append,
            progress=True,
        )
    newer = make_trainer(checkpoint=Checkpoint(tmp_path / "d", 5.0, resume=True), schedule=Stairs(20))
    assert older.settings() == newer.settings()
    assert older.run(15).loss == newer.run(15).loss
    assert seen and "loss=" in capsys.readouterr().err
    with pytest.raises(UserError, match="a checkpoint exists"), pytest.warns(DeprecationWarning):
        Trainer(older.model, older.sampler, checkpoint=tmp_path / "c", overwrite=False)
    with pytest.raises(TypeError, match="put resume into it"), pytest.warns(DeprecationWarning):
        Trainer(older.model, older.sampler, checkpoint=Checkpoint(tmp_path / "c"), resume=True)
    with pytest.raises(TypeError, match="Trainer has no argument 'momentum'"):
        Trainer(older.model, older.sampler, momentum=0.9)
