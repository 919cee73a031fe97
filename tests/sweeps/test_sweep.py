"""Tests of sweeps: training, results, failures, resuming and refused input."""

import csv
import json
import os
import signal

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.errors import UserError
from partae_fast.models.storage import load
from partae_fast.sampling.crops import CropSampler
from partae_fast.sweeps import figure as sweep_figure
from partae_fast.sweeps import sweep as sweep_module
from partae_fast.sweeps.grid import Member
from partae_fast.sweeps.sweep import Sweep, scores_of
from partae_fast.training import trainer as trainer_module
from partae_fast.training.steps import train_steps
from partae_fast.training.trainer import Trainer

from ..training.conftest import _make_sampler

STEPS = 12
FIXED = {"latents": 8, "taps": 3, "pool": 8}


# Two shapes, two optimizers.
GRID = {"optimizer": ["adadelta", "adam"], "pool": [8, 4], "penalty": [0.5, 2.0]}


@pytest.fixture(autouse=True)
def figure(monkeypatch):
    """Replace the plot by nothing, to save time; return the real function."""
    plot = sweep_figure.figure
    monkeypatch.setattr(sweep_figure, "figure", lambda path, rows, losses: None)
    return plot


def sweep_of(grid, folder, sampler=None, **settings):
    """Return a small sweep without a progress bar."""
    settings = {"steps": STEPS, "fixed": FIXED, "backend": "cpu", "progress": False} | settings
    settings["fixed"] = {n: v for n, v in settings["fixed"].items() if n not in grid}
    return Sweep.of_grid(grid, sampler or _make_sampler(), folder, **settings)


@pytest.fixture
def make(tmp_path):
    """Return make(grid, folder, **settings), which makes a small sweep."""
    return lambda grid, folder="sweep", **settings: sweep_of(grid, tmp_path / folder, **settings)


def contents(folder):
    """Return the contents of the models and tables in a folder, by file name."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".safetensors", ".csv", ".json")}


@pytest.mark.parametrize("backend", ["cpu", "eager"])
def test_member_has_the_bits_of_a_separate_trainer(backend, make, tmp_path, material):
    grid = {"penalty": [0.5, 2.0], "background": [0.25, 0.5], "noise_only": [0.25, 0.5], "frames": [48, 40]}
    rows = make(grid, backend=backend, fixed=FIXED | {"seed": 7, "learning_rate": 0.5}).run()
    assert len({row["name"] for row in rows}) == 16
    for row in rows[::5]:
        sampler = CropSampler(*material(), row["frames"], 4, row["noise_only"], seed=7)
        model = pf.ConvPartitionedAutoencoder(6, **FIXED, background=row["background"], seed=7)
        separate = Trainer(model, sampler, row["penalty"], backend=backend, learning_rate=0.5)
        losses = separate.run(STEPS).loss
        saved = load(tmp_path / "sweep" / row["model"])
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, saved.state_dict()[name]), (row["name"], name)
        assert row["loss_first"] == pytest.approx(np.mean(losses[:2]))
        assert row["loss_last"] == pytest.approx(np.mean(losses[-2:]))


def test_members_of_equal_shape_share_launches_and_recordings(make, monkeypatch, make_sampler):
    launches = []

    def launch(runs, first, steps, *backend):
        launches.append((len(runs), runs[0].pool, runs[0].optimizer))
        return train_steps(runs, first, steps, *backend)

    monkeypatch.setattr(trainer_module, "train_steps", launch)
    sampler = make_sampler()
    sweep = make(GRID | {"seed": [0, 1]}, sampler=sampler)
    assert all(member.sampler.source is sampler.source for member in sweep.members)
    sweep.run()
    assert set(launches) == {(4, pool, rule) for pool in (8, 4) for rule in ("adadelta", "adam")}


def test_shared_recordings_are_moved_to_a_device_once(make_model, make_sampler):
    base = make_sampler()
    samplers = [base, base, base.with_settings(seed=1), make_sampler(2)]
    members = [Member({"a": i}, make_model().to("meta"), sampler) for i, sampler in enumerate(samplers)]
    sweep_module._move_sources(members)
    sources = [member.sampler.source for member in members]
    assert all(source.is_meta for source in sources)
    assert sources[0] is sources[1] is sources[2] is not sources[3]


def test_launch_on_a_cpu_has_a_few_members_per_thread(make, monkeypatch):
    monkeypatch.setattr(sweep_module, "_MEMBERS_PER_THREAD", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    populations = make({"seed": range(9)})._populations()
    assert [len(trainers) for trainers, _ in populations] == [4, 4, 1]


def test_members_may_have_different_samplers_and_names(tmp_path, make_model, make_sampler):
    members = [
        Member({"noise": noise, "rate": rate}, make_model(), make_sampler(seed), optimizer="adam", learning_rate=rate)
        for seed, noise in enumerate(("crowd", "rain"))
        for rate in (1e-3, 1e-2)
    ]
    members[0].name = "first"
    rows = Sweep(members, tmp_path / "s", steps=3, progress=False).run()
    assert [row["name"] for row in rows] == ["first", "noise=crowd_rate=0.01", "noise=rain_rate=0.001",
                                             "noise=rain_rate=0.01"]  # fmt: skip
    separate = Trainer(make_model(), make_sampler(1), optimizer="adam", learning_rate=1e-2)
    separate.run(3)
    assert torch.equal(separate.model.w_dec, load(tmp_path / "s" / rows[3]["model"]).w_dec)


def test_custom_sampler_is_trained_op_by_op(tmp_path, make_model, make_sampler, material):
    class Louder(CropSampler):
        def batch_at(self, step):
            x, noise_only = super().batch_at(step)
            return 2 * x, noise_only

    def louder():
        return Louder(*material(), frames=48, batch=4)

    members = [Member({"a": 0}, make_model(), louder()), Member({"a": 1}, make_model(), make_sampler())]
    sweep = Sweep(members, tmp_path / "s", steps=5, progress=False)
    assert [backend for _, backend in sweep._populations()] == [None, "cpu"]
    sweep.run()
    separate = Trainer(make_model(), louder())
    separate.run(5)
    assert torch.equal(separate.model.w_dec, members[0].model.w_dec)
    assert not torch.equal(separate.model.w_dec, members[1].model.w_dec)


def test_progress_counts_steps_and_members(make, capsys):
    make({"seed": [0, 1]}, progress=True).run()
    progress = capsys.readouterr().err
    assert "24/24" in progress and "done=2/2" in progress
    make({"seed": [0, 1]}, "other").run()
    assert capsys.readouterr().err == ""


def test_tables_plot_and_models_are_written(make, tmp_path, monkeypatch, figure):
    monkeypatch.setattr(sweep_figure, "figure", figure)
    rows = make({"penalty": [0.5, 1.0], "seed": [0, 1]}, about={"place": "a wood"}).run()
    folder = tmp_path / "sweep"
    assert json.loads((folder / "results.json").read_text()) == {"about": {"place": "a wood"}, "members": rows}
    with open(folder / "results.csv") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["name", "penalty", "seed", *sweep_module.RESULTS]
    assert [[row["name"], float(row["leak"])] for row in table] == [[row["name"], row["leak"]] for row in rows]
    assert (folder / "results.png").read_bytes()[:4] == b"\x89PNG"
    for row in rows:
        assert row["status"] == "done" and row["steps"] == STEPS and row["loss_last"] < row["loss_first"]
        assert load(folder / row["model"]).config()["seed"] == row["seed"]


def test_scores(make_sampler, material):
    model = pf.ConvPartitionedAutoencoder(bins=6, **FIXED, background=0.25, seed=0)
    with torch.no_grad():
        model.w_dec[:, :2] = 0  # no background
        model.w_dec.abs_()
    scores = scores_of(model, make_sampler(noise_only=0.25))
    assert scores["leak"] > 0.5 and scores["keep"] > 0.5
    other_seed = scores_of(model, make_sampler(noise_only=0.5, batch=9, seed=0))
    assert other_seed == scores
    with torch.no_grad():
        model.w_dec.zero_()
    assert scores_of(model, make_sampler()) == {"error": 1.0, "leak": 0.0, "keep": 0.0}
    assert scores_of(model, CropSampler(material()[0], [], 48, 4, 0.0))["leak"] is None


def test_failed_member_does_not_stop_the_others(make, tmp_path, caplog):
    grid = {"learning_rate": [1e-3, 1e30], "seed": [0, 1]}
    sweep = make(grid, fixed=FIXED | {"optimizer": "adam"})
    rows = {(row["learning_rate"], row["seed"]): row for row in sweep.run()}
    assert sweep.failed == ["learning_rate=1e+30_seed=0", "learning_rate=1e+30_seed=1"]
    for seed in (0, 1):
        bad, good = rows[1e30, seed], rows[1e-3, seed]
        assert bad["status"] == "failed" and bad["steps"] < STEPS and bad["model"] is None and bad["leak"] is None
        assert f"{bad['name']}: failed: the loss is" in caplog.text and f"at step {bad['steps']};" in caplog.text
        assert good["status"] == "done" and not (tmp_path / "sweep" / f"{bad['name']}.safetensors").exists()
    separate = make({"learning_rate": [1e-3], "seed": [0]}, "separate", fixed=FIXED | {"optimizer": "adam"}).run()
    assert separate[0] == rows[1e-3, 0]
    before = contents(tmp_path / "sweep")
    again = make(grid, fixed=FIXED | {"optimizer": "adam"}, resume=True)
    again.run()
    assert again.failed == sweep.failed and contents(tmp_path / "sweep") == before


def test_infinite_weights_after_the_last_step_are_not_saved(make, monkeypatch, tmp_path):
    def train_steps_to_infinity(runs, first, steps, *backend):
        losses = train_steps(runs, first, steps, *backend)
        if first + steps == STEPS:
            runs[0].w_enc[0, 0, 0] = torch.inf
        return losses

    monkeypatch.setattr(trainer_module, "train_steps", train_steps_to_infinity)
    rows = make({"seed": [0, 1]}).run()
    assert [(row["status"], row["steps"]) for row in rows] == [("failed", STEPS), ("done", STEPS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the files of a sweep that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_figure, "figure", lambda path, rows, losses: None)
        sweep_of(GRID, folder).run()
    return contents(folder)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("at", [1, 2, 4, 5, 9])
def test_ctrl_c_at_any_launch_and_resume_give_the_same_bits(make, tmp_path, monkeypatch, whole, at, times):
    launches = []

    def launch(runs, first, steps, *backend):
        launches.append(steps)
        if len(launches) == at:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return train_steps(runs, first, steps, *backend)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "train_steps", launch)
        with pytest.raises(KeyboardInterrupt):
            make(GRID).run()
    assert len(launches) == at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if times == 1:
        rows = json.loads((tmp_path / "sweep" / "results.json").read_text())["members"]
        assert {row["status"] for row in rows} <= {"done", "unfinished"} and sum(row["steps"] for row in rows) > 0
    make(GRID, resume=True).run()
    assert contents(tmp_path / "sweep") == whole


@pytest.mark.parametrize("at", [1, 2, 6, 11, 14])
def test_crash_between_two_checkpoints_and_resume_give_the_same_bits(make, tmp_path, monkeypatch, whole, at):
    writes, save_checkpoint = [], Trainer.save_checkpoint

    def save(self):
        writes.append(self)
        if len(writes) == at:
            raise RuntimeError("gone")
        save_checkpoint(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", save)
        with pytest.raises(RuntimeError, match="gone"):
            make(GRID, checkpoint_every=0).run()
    make(GRID, resume=True).run()
    assert contents(tmp_path / "sweep") == whole


def test_resume_trains_only_added_members_and_steps(make, tmp_path, monkeypatch):
    first = make({"penalty": [0.5, 1.0]}).run()
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "train_steps", None)
        assert make({"penalty": [0.5, 1.0]}, resume=True).run() == first
    rows = make({"penalty": [1.0, 2.0]}, resume=True).run()
    assert [row["penalty"] for row in rows] == [1.0, 2.0, 0.5]
    assert rows[0] == first[1] and rows[2] == first[0]
    assert len(list((tmp_path / "sweep").glob("*.safetensors"))) == 3
    longer = make({"penalty": [0.5, 1.0, 2.0]}, resume=True, steps=STEPS + 5).run()
    assert longer == make({"penalty": [0.5, 1.0, 2.0]}, "other", steps=STEPS + 5).run()


def test_folder_with_a_sweep_is_refused_without_resume(make):
    make({"seed": [0]}).run()
    with pytest.raises(UserError, match="a sweep is in this folder; resume it or choose another"):
        make({"seed": [0]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fixed": FIXED | {"penalty": 3.0}}, "penalty was 0.75, is 3.0"),
        ({"fixed": FIXED | {"pool": 4}}, "config.pool was 8, is 4"),
        ({"about": {"place": "a field"}}, "place was a wood, is a field"),
    ],
)
def test_resume_with_other_settings_is_refused(make, change, message):
    make({"seed": [0]}, about={"place": "a wood"}).run()
    with pytest.raises(UserError, match=message):
        make({"seed": [0]}, resume=True, **{"about": {"place": "a wood"}} | change)


def test_resume_with_other_recordings_is_refused(make, make_sampler):
    make({"penalty": [1.0]}).run()
    with pytest.raises(UserError, match="the recordings, their labels or their band differ"):
        make({"penalty": [1.0]}, resume=True, sampler=make_sampler(5).with_settings(seed=0))


def test_damaged_table_is_refused(make, tmp_path):
    make({"seed": [0]}).run()
    table = tmp_path / "sweep" / "results.json"
    before = table.read_text()
    for text in (before[:50], "[]", before.replace('"leak"', '"lek"')):
        table.write_text(text)
        with pytest.raises(UserError, match=r"results\.json: damaged; remove it"):
            make({"seed": [0]}, resume=True)
    table.unlink()
    make({"seed": [0]}, resume=True).run()
    assert table.read_text() == before


@pytest.mark.parametrize(
    ("grid", "settings", "message"),
    [
        ({"seed": [1, 1]}, {}, "two members are called seed=1"),
        ({"penalty": [-1.0]}, {}, "penalty is -1.0"),
        ({"background": [2.0]}, {}, "background is 2.0"),
        ({"optimizer": ["adam"], "momentum": [0.5]}, {}, "adam has no option 'momentum'"),
        ({"frames": [500]}, {}, "the longest recording has 150 frames, but a crop has 500"),
        ({"seed": [0]}, {"steps": 0}, "steps is 0"),
        ({"seed": [0]}, {"fixed": {"pool": [4, 8]}}, "fixed has a setting with several values"),
    ],
)
def test_settings_out_of_range_are_refused(make, grid, settings, message):
    with pytest.raises(UserError, match=message):
        make(grid, **settings)


def test_invalid_members_are_refused(tmp_path, make_model, make_sampler):
    model = make_model()
    with pytest.raises(UserError, match="no member"):
        Sweep([], tmp_path / "s")
    with pytest.raises(UserError, match="share a model"):
        Sweep([Member({"a": i}, model, make_sampler()) for i in range(2)], tmp_path / "s")
    with pytest.raises(UserError, match="two members are called b"):
        Sweep([Member({}, make_model(), make_sampler(), name=n) for n in "Bb"], tmp_path / "s")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="the folder cannot be created"):
        Sweep([Member({"a": 1}, model, make_sampler())], tmp_path / "file" / "s")
    assert not (tmp_path / "s").exists()


def test_unavailable_back_end_is_refused_before_the_first_step(make, tmp_path):
    if pf.backends()["cuda"].available:
        pytest.skip("the cuda back-end is available")
    with pytest.raises(pf.BackendUnavailable):
        make({"seed": [0]}, backend="cuda").run()
