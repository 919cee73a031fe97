"""Ranks train one model together: the losses of one process, the same bits with 2 ranks as with 4, one voice."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.models.storage import describe, load, save
from partae_fast.sampling.crops import CropSampler
from partae_fast.training.distributed import SHARDS, Node, Ranks, Shares, added
from partae_fast.training.trainer import Trainer

STEPS = 10


class Table:
    """Where ranks that are threads of this process lay down what they give."""

    def __init__(self, count):
        self.places, self.barrier = [None] * count, threading.Barrier(count, timeout=60)

    def gather(self, rank, value):
        self.places[rank] = value
        self.barrier.wait()
        found = list(self.places)
        self.barrier.wait()
        return found


@dataclass(frozen=True)
class Threads(Ranks):
    """Ranks that are threads."""

    table: Table | None = None

    def gather(self, value):
        return self.table.gather(self.rank, value)

    def gather_tensor(self, tensor):
        return self.table.gather(self.rank, tensor.clone())


def together(count, work):
    """What work(ranks) returns on each of so many ranks."""
    table = Table(count)

    def run(rank):
        try:
            return work(Threads(rank, count, table))
        except threading.BrokenBarrierError:
            return None  # another rank says what went wrong
        except BaseException:
            table.barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(run, rank) for rank in range(count)]
    return [future.result() for future in futures]


@pytest.fixture(autouse=True)
def one_thread_each():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(make_model, make_sampler):
    """count, settings of sampler and of Trainer -> the trainers of so many ranks after STEPS steps"""

    def train(count, sampling=None, steps=STEPS, **settings):
        settings = {"optimizer": "adam", "backend": "cpu"} | settings

        def work(ranks):
            trainer = Trainer(make_model(), make_sampler(**(sampling or {})), ranks=ranks, **settings)
            trainer.run(steps)
            return trainer

        return together(count, work) if count > 1 else [work(Ranks())]

    return train


@pytest.mark.parametrize("backend", ["eager", "cpu"])
@pytest.mark.parametrize("batch", [8, 7])
def test_so_many_ranks_have_the_losses_of_one(trained, backend, batch):
    """A batch of 7 has shares of 1, 2, 2 and 2 items, and noise-only ones (2 of 7) in some of them alone."""
    sampling = {"batch": batch, "noise_only": 0.3}
    (alone,) = trained(1, sampling, backend=backend)
    assert alone.fused() == backend
    bits = []
    for count in (2, 3, 4):
        ranks = trained(count, sampling, backend=backend)
        assert all(trainer.fused() is None for trainer in ranks)
        np.testing.assert_allclose(ranks[0].history.loss, alone.history.loss, rtol=1e-5)
        bits += [(tuple(t.history.loss), t.model.w_enc.detach().numpy().tobytes()) for t in ranks]
    assert len(set(bits)) == 1


def test_more_ranks_than_shards_have_the_losses_too(trained):
    sampling = {"batch": 6}
    (alone,), many = trained(1, sampling), trained(5, sampling)
    np.testing.assert_allclose(many[4].history.loss, alone.history.loss, rtol=1e-5)


def test_targets_of_their_own_corruption_and_rectifiers_are_shared_out_too(make_model, material):
    (signal,), (noise,) = material()
    groups = [[(r, 0.5 * r) for r in signal]], [[(r, 0 * r) for r in noise]]

    def work(ranks):
        sampler = CropSampler(*groups, frames=48, batch=5, corruption=material(1)[1])
        trainer = Trainer(make_model(negative_slope=0.25, rectified_output=True), sampler, penalty=0.0, ranks=ranks)
        return trainer.run(STEPS).loss

    np.testing.assert_allclose(together(2, work)[1], work(Ranks()), rtol=1e-5)


class Asked(CropSampler):
    """Makes its batches in a way of its own."""

    def batch_at(self, step):
        x, noise_only = super().batch_at(step)
        return x + 1, noise_only


def test_a_sampler_of_its_own_kind_is_asked_for_whole_batches(make_model, material):
    def work(ranks):
        return Trainer(make_model(), Asked(*material(), frames=48, batch=4), ranks=ranks).run(STEPS).loss

    np.testing.assert_allclose(together(2, work)[0], work(Ranks()), rtol=1e-5)


def test_a_run_goes_on_with_another_number_of_ranks_to_the_same_bits(tmp_path, trained, caplog):
    settings = {"checkpoint": tmp_path / "c", "falling_over": 2 * STEPS, "resume": True}
    whole = trained(3, steps=2 * STEPS, falling_over=2 * STEPS)[0]
    assert trained(2, **settings)[1].step == STEPS
    again = trained(4, **settings)[3]
    assert "not in the same bits" not in caplog.text
    assert again.history == whole.history and again.model.w_dec.equal(whole.model.w_dec)
    (alone,) = trained(1, **settings, steps=1)
    assert alone.step == 2 * STEPS + 1
    assert "not in the same bits: ranks was 2 to 4, is 1" in caplog.text


def test_the_first_rank_alone_writes_and_shows(tmp_path, capsys, trained):
    ranks = trained(2, checkpoint=tmp_path / "c", progress=True)
    shown = capsys.readouterr().err
    assert shown.count(" 0/") == 1 and f"{STEPS}/{STEPS}" in shown  # one bar begins, and is drawn as often as it likes
    assert describe(tmp_path / "c")["step"] == STEPS and os.listdir(tmp_path) == ["c"]
    assert [trainer.progress for trainer in ranks] == [True, False]


def test_an_interrupt_of_one_stops_all_after_the_same_step(tmp_path, make_model, make_sampler):
    def work(ranks):
        trainer = Trainer(make_model(), make_sampler(), ranks=ranks, checkpoint=tmp_path / "c", overwrite=True)
        take = trainer._take_common
        # As deferred_interrupt fills the list on the main thread of one rank.
        trainer._take_common = lambda steps, heard: take(steps, heard if trainer.step < 16 or ranks.leads else [2])
        with pytest.raises(KeyboardInterrupt):
            trainer.run(1000)
        return trainer.step

    assert together(2, work) == [24, 24]
    assert describe(tmp_path / "c")["step"] == 24


def test_a_loss_that_is_not_finite_ends_all_ranks_at_its_step(make_model, make_sampler):
    def work(ranks):
        trainer = Trainer(make_model(), make_sampler(), optimizer="adam", learning_rate=1e30, ranks=ranks)
        with pytest.raises(UserError, match=r"the loss is (nan|inf) at step") as caught:
            trainer.run(100)
        return str(caught.value)

    assert len(set(together(2, work))) == 1


def test_ranks_that_would_train_something_else_are_refused(make_model, make_sampler):
    def work(ranks):
        with pytest.raises(UserError, match="ranks 0 and 1 do not train the same") as caught:
            Trainer(make_model(), make_sampler(seed=ranks.rank), ranks=ranks)
        return str(caught.value)

    assert "seed was 0, is 1" in together(2, work)[0]


def test_more_ranks_than_items_are_refused():
    with pytest.raises(UserError, match="5 ranks share a batch of 4 items; start 4 at most"):
        Shares(4, Ranks(0, 5))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_the_tree_of_sums_is_the_same_whoever_adds(count):
    """Numbers whose sum depends on the order, and whether every shard is somebody's."""
    random = np.random.default_rng(0)
    shards = max(SHARDS, 8 if count > 4 else 4)
    numbers = torch.from_numpy(random.lognormal(0, 4, shards).astype("f4"))
    (wanted,) = added([Node(i, 1, numbers[i : i + 1]) for i in range(shards)])

    def work(ranks):
        shares = Shares(16, ranks)
        return list(shares.shards), shares.total([numbers[i : i + 1] for i in shares.shards])

    found = together(count, work)
    assert [shard for own, _ in found for shard in own] == list(range(shards))
    assert all(torch.equal(total, wanted.total) for _, total in found)


@pytest.fixture
def in_parallel(tmp_path):
    """model -> it in DistributedDataParallel, of a group of this process alone"""
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
