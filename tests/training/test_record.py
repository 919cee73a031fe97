"""The record of a run: a line for every ten steps, none twice even after a stop; curves for TensorBoard."""

import builtins
import json

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.training.checkpoint import Checkpoint
from partae_fast.training.record import JsonLines, Record, TensorBoard
from partae_fast.training.schedules import Stairs


@pytest.fixture
def recorded(tmp_path, make_trainer):
    """Return a function that trains some steps and returns the trainer and the lines of its record."""

    def train(steps, resume=False, end=True, **settings):
        record = Record([JsonLines(tmp_path / "h.jsonl", {"preset": "a"}, resume)])
        trainer = make_trainer(checkpoint=Checkpoint(tmp_path / "c", resume=resume), watch=record.watch, **settings)
        record.begin(trainer)
        trainer.run(steps)
        if end:
            record.end(trainer)
        return trainer, [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]

    return train


def test_a_line_for_every_ten_steps_and_one_for_the_rest(recorded):
    settings = {"optimizer": "adam", "learning_rate": 1e-3, "schedule": Stairs(20)}
    trainer, (header, *lines) = recorded(24, **settings)
    assert header["begin"] == "conv_partitioned" and header["step"] == 0 and header["preset"] == "a"
    assert header["run"]["penalty"] == 0.75 and header["run"]["sampler"]["batch"] == 4
    assert header["place"]["backend"] == "eager" and {"torch", "numpy"} <= set(header["place"])
    assert [line["step"] for line in lines] == [10, 20, 24]
    means = [np.mean(trainer.history.loss[a:b]) for a, b in ((0, 10), (10, 20), (20, 24))]
    assert [line["loss"] for line in lines] == pytest.approx(means, rel=1e-12)
    assert [line["learning_rate"] for line in lines] == pytest.approx([6e-4, 1e-4, 1e-4])
    assert lines == sorted(lines, key=lambda line: line["seconds"]) and lines[-1]["seconds"] > 0


def test_a_resumed_run_records_each_step_once(tmp_path, recorded):
    whole, expected = recorded(50)
    (tmp_path / "c").unlink()
    recorded(24)
    ahead = {"model": "conv_partitioned", "stage": 1, "step": 30, "loss": 1.0, "learning_rate": 1.0, "seconds": 9.0}
    with open(tmp_path / "h.jsonl", "a") as file:
        file.write(json.dumps(ahead) + "\n" + '{"model": "conv_part')  # killed in the middle of a line
    trainer, lines = recorded(26, resume=True)
    assert trainer.history == whole.history
    headers, rows = [line for line in lines if "begin" in line], [line for line in lines if "begin" not in line]
    assert [line["step"] for line in headers] == [0, 24]
    for key in ("step", "loss"):
        assert [row[key] for row in rows] == [row[key] for row in expected[1:]]
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_a_run_from_the_start_replaces_the_record(tmp_path, recorded):
    recorded(24)
    (tmp_path / "c").unlink()
    _, lines = recorded(10)
    assert [line["step"] for line in lines] == [0, 10]


def test_models_of_one_kind_have_separate_stages(tmp_path, make_trainer):
    """The first model is complete and the second resumes at step 10; no line of the first is lost."""
    for resume in (False, True):
        record = Record([JsonLines(tmp_path / "h.jsonl", {}, resume)])
        for name, steps in (("a", 20), ("b", 10)):
            trainer = make_trainer(checkpoint=Checkpoint(tmp_path / name, resume=resume), watch=record.watch)
            record.begin(trainer)
            trainer.run(min(steps, 30 - trainer.step) if name == "b" else 20 - trainer.step)
            record.end(trainer)
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines if "begin" in line] == [(1, 0), (2, 0), (1, 20), (2, 10)]
    assert [(r["stage"], r["step"]) for r in lines if "loss" in r] == [(1, 10), (1, 20), (2, 10), (2, 20)]


@pytest.mark.parametrize("content", ["loss,step\n1,2\n", "[1]\n", '{"other": 1}\n'])
def test_another_file_is_not_appended_to(tmp_path, content):
    (tmp_path / "h.jsonl").write_text(content)
    with pytest.raises(UserError, match="not a record of training"):
        JsonLines(tmp_path / "h.jsonl", {}, resume=True)
    assert (tmp_path / "h.jsonl").read_text() == content


def test_tensorboard_gets_the_same_rows(tmp_path, make_trainer):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for resume in (False, True):
        record = Record([TensorBoard(tmp_path / "t")])
        trainer = make_trainer(checkpoint=Checkpoint(tmp_path / "c", resume=resume), watch=record.watch)
        record.begin(trainer)
        trainer.run(20)
        record.end(trainer)
        record.close()
    curves = events.EventAccumulator(str(tmp_path / "t" / "1-conv_partitioned"))
    curves.Reload()
    scalars = curves.Scalars("loss")
    assert [scalar.step for scalar in scalars] == [10, 20, 30, 40]
    means = np.reshape(trainer.history.loss, (4, 10)).mean(axis=1)
    assert [scalar.value for scalar in scalars] == pytest.approx(means, rel=1e-6)
    assert len(curves.Scalars("learning_rate")) == 4


def test_a_missing_tensorboard_is_reported_with_the_command_to_install_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def import_without_tensorboard(name, *rest, **more):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", import_without_tensorboard)
    with pytest.raises(UserError, match=r"pip install 'partae-fast\[tensorboard\]'"):
        TensorBoard(tmp_path / "t")
    assert not (tmp_path / "t").exists()
