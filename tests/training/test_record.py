"""The record of a run: a line for every ten steps, none twice, whatever stops it; curves where TensorBoard is."""

import builtins
import json

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.training.record import JsonLines, Record, TensorBoard


@pytest.fixture
def recorded(tmp_path, make_trainer):
    """steps, settings of Trainer and resume -> the trainer after so many steps more, and the record's lines"""

    def train(steps, resume=False, end=True, **settings):
        record = Record([JsonLines(tmp_path / "h.jsonl", {"preset": "a"}, resume)])
        trainer = make_trainer(checkpoint=tmp_path / "c", resume=resume, watch=record.watch, **settings)
        record.begin(trainer)
        trainer.run(steps)
        if end:
            record.end(trainer)
        return trainer, [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]

    return train


def test_a_line_for_every_ten_steps_and_one_for_the_rest(recorded):
    settings = {"optimizer": "adam", "learning_rate": 1e-3, "falling_over": 20}
    trainer, (header, *lines) = recorded(24, **settings)
    assert header["begin"] == "conv_partitioned" and header["step"] == 0 and header["preset"] == "a"
    assert header["run"]["penalty"] == 0.75 and header["run"]["sampler"]["batch"] == 4
    assert header["place"]["backend"] == "eager" and {"torch", "numpy"} <= set(header["place"])
    assert [line["step"] for line in lines] == [10, 20, 24]
    means = [np.mean(trainer.history.loss[a:b]) for a, b in ((0, 10), (10, 20), (20, 24))]
    assert [line["loss"] for line in lines] == pytest.approx(means, rel=1e-12)
    assert [line["learning_rate"] for line in lines] == pytest.approx([6e-4, 1e-4, 1e-4])
    assert lines == sorted(lines, key=lambda line: line["seconds"]) and lines[-1]["seconds"] > 0


def test_a_resumed_run_has_no_step_twice_and_none_that_the_checkpoint_lacks(tmp_path, recorded):
    whole, wanted = recorded(50)
    (tmp_path / "c").unlink()
    recorded(24)
    ahead = {"model": "conv_partitioned", "stage": 1, "step": 30, "loss": 1.0, "learning_rate": 1.0, "seconds": 9.0}
    with open(tmp_path / "h.jsonl", "a") as file:
        file.write(json.dumps(ahead) + "\n" + '{"model": "conv_part')  # killed in the middle of a line
    trainer, lines = recorded(26, resume=True)
    assert trainer.history == whole.history
    begun, rows = [line for line in lines if "begin" in line], [line for line in lines if "begin" not in line]
    assert [line["step"] for line in begun] == [0, 24]
    for key in ("step", "loss"):
        assert [row[key] for row in rows] == [row[key] for row in wanted[1:]]
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_a_run_begun_anew_replaces_the_record(tmp_path, recorded):
    recorded(24)
    (tmp_path / "c").unlink()
    _, lines = recorded(10)
    assert [line["step"] for line in lines] == [0, 10]


def test_models_of_one_kind_are_told_apart(tmp_path, make_trainer):
    """A first is done and a second is resumed at step 10; nothing of the first is lost."""
    for resume in (False, True):
        record = Record([JsonLines(tmp_path / "h.jsonl", {}, resume)])
        for name, steps in (("a", 20), ("b", 10)):
            trainer = make_trainer(checkpoint=tmp_path / name, resume=resume, watch=record.watch)
            record.begin(trainer)
            trainer.run(min(steps, 30 - trainer.step) if name == "b" else 20 - trainer.step)
            record.end(trainer)
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines if "begin" in line] == [(1, 0), (2, 0), (1, 20), (2, 10)]
    assert [(r["stage"], r["step"]) for r in lines if "loss" in r] == [(1, 10), (1, 20), (2, 10), (2, 20)]


@pytest.mark.parametrize("content", ["loss,step\n1,2\n", "[1]\n", '{"other": 1}\n'])
def test_a_file_that_is_no_record_is_not_gone_on_in(tmp_path, content):
    (tmp_path / "h.jsonl").write_text(content)
    with pytest.raises(UserError, match="is no record of training"):
        JsonLines(tmp_path / "h.jsonl", {}, resume=True)
    assert (tmp_path / "h.jsonl").read_text() == content


def test_tensorboard_gets_the_same_rows(tmp_path, make_trainer):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for resume in (False, True):
        record = Record([TensorBoard(tmp_path / "t")])
        trainer = make_trainer(checkpoint=tmp_path / "c", resume=resume, watch=record.watch)
        record.begin(trainer)
        trainer.run(20)
        record.end(trainer)
        record.close()
    found = events.EventAccumulator(str(tmp_path / "t" / "1-conv_partitioned"))
    found.Reload()
    scalars = found.Scalars("loss")
    assert [scalar.step for scalar in scalars] == [10, 20, 30, 40]
    wanted = np.reshape(trainer.history.loss, (4, 10)).mean(axis=1)
    assert [scalar.value for scalar in scalars] == pytest.approx(wanted, rel=1e-6)
    assert len(found.Scalars("learning_rate")) == 4


def test_without_tensorboard_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=r"pip install 'partae-fast\[tensorboard\]'"):
        TensorBoard(tmp_path / "t")
    assert not (tmp_path / "t").exists()
