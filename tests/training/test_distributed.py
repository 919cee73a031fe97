"""Ranks train one model together: to the losses of one process, with one writer, and to one end."""

import os

import numpy as np
import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.models.storage import describe, load, save
from partae_fast.training.checkpoint import Checkpoint
from partae_fast.training.distributed import Ranks
from partae_fast.training.schedules import Stairs
from partae_fast.training.trainer import Trainer

from . import ranks as worker
from .ranks import STEPS, TRAININGS, make_trainer


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Results of both ranks, by scenario, what they print, and the folder with their checkpoints."""
    folder = tmp_path_factory.mktemp("pair")
    results, errors = worker.launch(2, "everything", folder)
    return results, errors, folder


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Results of three ranks."""
    return worker.launch(3, "losses resume", tmp_path_factory.mktemp("three"))[0]


@pytest.fixture(scope="module")
def alone():
    """The losses of one process, by training."""
    return {name: make_trainer(name).run(STEPS).loss for name in TRAININGS}


@pytest.mark.parametrize("name", TRAININGS)
def test_two_and_three_ranks_have_the_losses_of_one(name, alone, pair, three):
    """Shares are unequal: three ranks have 2, 2 and 3 of 7 items, and noise-only ones are in some shares only."""
    for results in (pair[0], three):
        trained = [result["losses"][name] for result in results]
        np.testing.assert_allclose(trained[0]["losses"], alone[name], rtol=1e-5)
        assert all(other == trained[0] for other in trained)  # weights too, to the bit


def test_a_resumed_run_has_the_bits_of_one_without_a_stop(pair, three):
    for result in (*pair[0], *three):
        assert result["resume"]["first"] == STEPS
        assert result["resume"]["equal losses"] and result["resume"]["equal weights"]


def test_a_run_continues_with_another_number_of_ranks(pair, caplog):
    checkpoint = Checkpoint(pair[2] / "c", resume=True)
    trainer = make_trainer("batch of 7, cpu", checkpoint=checkpoint, schedule=Stairs(2 * STEPS))
    assert trainer.step == 2 * STEPS
    assert "not to the same bits: ranks was 2, is 1" in caplog.text
    trainer.run(1)
    assert trainer.history.loss[:-1] == pair[0][1]["resume"]["losses"]


def test_rank_0_alone_writes_and_shows_progress(pair):
    _, errors, folder = pair
    assert f"{STEPS}/{STEPS}" in errors[0] and "/" + str(STEPS) not in errors[1]
    assert describe(folder / "shown")["step"] == STEPS
    assert sorted(os.listdir(folder)) == ["c", "interrupted", "rank0.json", "rank1.json", "shown"]


def test_an_interrupt_of_one_rank_stops_all_after_the_same_step(pair):
    assert [result["interrupt"] for result in pair[0]] == [24, 24]
    assert describe(pair[2] / "interrupted")["step"] == 24


def test_a_loss_that_is_not_finite_stops_all_ranks_at_its_step(pair):
    first, second = (result["not_finite"] for result in pair[0])
    assert first == second and "at step" in first and first.startswith("the loss is ")


def test_ranks_with_different_settings_are_refused(pair):
    for result in pair[0]:
        assert "ranks 0 and 1 have different settings" in result["different_settings"]
        assert "seed was 0, is 1" in result["different_settings"]


def test_an_error_of_the_model_is_its_own(pair):
    assert [result["own_error"] for result in pair[0]] == ["RuntimeError", "RuntimeError"]


def test_a_lost_rank_is_reported_with_a_remedy(pair):
    first, second = pair[0]
    assert "lost" not in second
    assert "another rank has ended or cannot be reached; repeat the command with --resume" in first["lost"]


@pytest.mark.parametrize(("batch", "count"), [(8, 4), (7, 4), (5, 5), (3, 1)])
def test_every_item_belongs_to_one_rank(batch, count):
    shares = [Ranks(rank, count).items(batch) for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_ranks_than_items_are_refused():
    with pytest.raises(UserError, match="5 ranks share a batch of 4 items; start 4 at most"):
        Ranks(0, 5).items(4)


@pytest.fixture
def in_parallel(tmp_path):
    """model -> the model in DistributedDataParallel, of a group of this process alone"""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield torch.nn.parallel.DistributedDataParallel
    torch.distributed.destroy_process_group()


def test_a_model_in_distributed_data_parallel_is_trained_and_saved_itself(
    in_parallel, make_model, make_sampler, tmp_path, monkeypatch
):
    model = make_model()
    trainer = Trainer(in_parallel(model), make_sampler(), backend="eager")
    assert trainer.model is model
    save(in_parallel(model), tmp_path / "m")
    assert torch.equal(load(tmp_path / "m").w_enc, model.w_enc)
    monkeypatch.setattr("partae_fast.training.trainer.current", lambda: Ranks(1, 2))
    with pytest.raises(UserError, match=r"would train alone; give ranks=Ranks\(1, 2\)"):
        Trainer(in_parallel(model), make_sampler())
    Trainer(torch.nn.DataParallel(model), make_sampler())
