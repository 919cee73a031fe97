"""The benchmarks as programs: every contest runs, a wrong version is not timed, rows become a table and a plot."""

import importlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from partae_fast.bench import (
    affinity,
    ceilings,
    command,
    common,
    contrastive,
    conv2d_pool,
    curves,
    denoise,
    dense,
    memory,
    peers,
    population,
    ratio_mask,
    render,
    shapes,
    snmf,
    startup,
    timing,
    train_step,
    upsample_conv2d,
)
from partae_fast.errors import UserError

SMALL = {"B": 2, "N": 40, "H": 5, "K": 4, "M": 3, "P": 8}
SMALL_MAP = {"B": 2, "N": 3, "H": 10, "C": 2, "D": 3, "p": 1, "q": 5}
MEASURED = ceilings.ceilings
CEILINGS = {"flop_per_s": 1e11, "bytes_per_s": 1e10, "barrier_seconds": 1e-7, "cache_bytes": 1 << 20}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One round of one small shape, and peers that are not compiled: what is tested is not how fast they are."""
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    monkeypatch.setattr(timing.measure, "__defaults__", (2,))
    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "WARM_SECONDS", 1e-4)
    monkeypatch.setattr(train_step, "LAUNCH_SECONDS", 1e-4)
    monkeypatch.setattr(population, "LAUNCH_SECONDS", 1e-4)
    monkeypatch.setattr(shapes, "SHAPES", [SMALL])
    monkeypatch.setattr(conv2d_pool, "SHAPES", [SMALL_MAP])
    monkeypatch.setattr(contrastive, "SHAPES", [{"B": 2, "T": 3, "F": 5, "D": 4, "S": 2}])
    monkeypatch.setattr(affinity, "SHAPES", [{"B": 2, "P": 15, "D": 4}])
    monkeypatch.setattr(ratio_mask, "SHAPES", [{"B": 2, "T": 3, "F": 5, "S": 2}])
    monkeypatch.setattr(snmf, "SHAPES", [{"N": 30, "H": 20, "K": 5}])
    monkeypatch.setattr(upsample_conv2d, "SHAPES", [SMALL_MAP])
    monkeypatch.setattr(train_step, "CONFIGURATIONS", [SMALL])
    monkeypatch.setattr(dense, "SHAPES", [{"B": 3, "I": 20, "O": 35}])
    monkeypatch.setattr(dense, "SUPERVISED", {"B": 3, "bins": 20, "hidden": 9})
    monkeypatch.setattr(dense, "CURRO", {"B": 3, "bins": 20, "encoder": 8, "decoder": 7})
    monkeypatch.setattr(curves, "BASE", SMALL)
    monkeypatch.setattr(curves, "AXES", {"B": (1, 2), "H=K": (4, 8)})
    for rounds in ("STEP_ROUNDS", "CURVE_ROUNDS", "QUICK_ROUNDS"):
        monkeypatch.setattr(command, rounds, 2)
    monkeypatch.setattr(memory, "peaks", lambda asked: [{"peak_bytes": 3, "held_bytes": 4} for _ in asked])
    monkeypatch.setattr(peers, "COMPILED", {})
    monkeypatch.setattr(command, "ceilings", lambda device: CEILINGS)
    monkeypatch.setattr(ceilings, "ceilings", lambda device: CEILINGS)
    monkeypatch.setattr(denoise.compare, "__defaults__", (2, 12))
    monkeypatch.setattr(startup, "seconds", lambda: {"cold": 2.0, "warm": 1.0})


def test_every_contest_is_checked_and_timed(tmp_path, capsys):
    assert command.main(None, tmp_path / "rows.json") == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    contests = dict.fromkeys(row["op"] for row in report["rows"])
    assert list(contests) == [
        "encode",
        "encode forward+backward",
        "decode",
        "decode forward+backward",
        "partitioned_loss",
        "dense",
        "dense forward+backward",
        "dense step",
        "Curro step",
        "conv2d_pool",
        "conv2d_pool forward+backward",
        "upsample_conv2d",
        "upsample_conv2d forward+backward",
        "contrastive forward+backward",
        "affinity forward+backward",
        "ratio_mask forward+backward",
        "snmf activations",
        "snmf learning",
        "train step",
        "population",
        "denoise",
    ]
    for row in report["rows"]:
        if row["op"] == "denoise":
            continue
        assert row["error"] <= (snmf.GATE_OF_LEARNING if row["op"] == "snmf learning" else common.GATE_BEHIND_ARGMAX)
        assert 0 < row["seconds_10"] <= row["seconds"] <= row["seconds_90"]
        assert row["floor_seconds"] > 0
        assert row["peer"] == (row["version"] != "cpu" and not row["version"].startswith("partae "))
    assert {"processor", "threads", "versions", "date", "commit"} <= set(report["environment"])
    assert "| encode | cpu | 2 40 5 4 3 8 | **cpu** |" in capsys.readouterr().out


def test_rows_become_a_table_and_a_plot(tmp_path):
    command.main("encode", tmp_path / "rows.json")
    report = json.loads((tmp_path / "rows.json").read_text())
    render.plot(report, tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 5000
    assert render.table(report).count("\n| encode") == 4


@pytest.mark.parametrize("op", ["encode", "decode", "partitioned_loss"])
def test_a_wrong_version_is_not_timed(op, capsys):
    module = importlib.import_module(f"partae_fast.bench.{op}")
    for contest in module.contests(SMALL, "cpu", ["cpu"]):
        right = contest.ours["cpu"]
        contest.ours["cpu"] = lambda right=right: _off(right())
        found = contest.run(SMALL, "cpu", CEILINGS)
        assert [row.version for row in found if not row.peer] == []
        assert "not timed" in capsys.readouterr().out


def _off(result):
    if isinstance(result, torch.Tensor):
        return result * 1.02
    return (result[0] * 1.02, *result[1:])


def test_nan_does_not_pass_the_gate():
    assert not common.relative(torch.tensor([np.nan]), torch.tensor([1.0])) <= common.GATE


def test_a_candidate_is_timed_beside_the_others(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("from partae_fast.kernels.encode.eager import encode\n")
    assert command.main(None, tmp_path / "rows.json", f"{file}:encode") == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["version"] for row in rows if row["op"] == "encode"] == ["cpu", "mine.py:encode", "eager"]


def test_unknown_op():
    with pytest.raises(UserError, match="op 'encoder' is not known"):
        command.main("encoder")


def test_versions_take_turns():
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    samples = timing.measure(calls, "cpu", rounds=3)
    assert set(samples) == {"a", "b"}
    assert all(len(s) == 3 and (s > 0).all() for s in samples.values())
    assert "".join(order).rstrip("b").count("ba") >= 2


def test_needed_work_of_the_papers_configuration():

    configuration = {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}
    assert shapes.dense(configuration).flop == pytest.approx(151e6, rel=0.01)
    assert shapes.sparse(configuration, 1).flop == pytest.approx(9.4e6, rel=0.01)


@pytest.mark.parametrize("wrong", [1.02, float("nan")])
def test_a_wrong_training_step_is_not_timed(wrong, monkeypatch, capsys):
    build = train_step.build

    def spoilt(version, *given):
        found = build(version, *given)
        if version == "partae cpu":
            found.first_losses[3] *= wrong
        return found

    monkeypatch.setattr(train_step, "build", spoilt)
    rows, _, not_timed = train_step.compare(SMALL, "cpu", CEILINGS, rounds=2)
    assert "partae cpu" not in [row.version for row in rows]
    assert not_timed == ["partae cpu"]
    assert "not timed" in capsys.readouterr().out
    assert command.main("train-step", quick=True) == 1


def test_a_version_that_cannot_run_is_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(peers, "COMPILED", {"torch.compile": {"backend": "nothere"}})
    rows, skipped, wrong = train_step.compare(SMALL, "cpu", CEILINGS, rounds=2)
    assert {"partae cpu", "partae eager", "PyTorch eager"} == {row.version for row in rows}
    assert "nothere" in skipped["torch.compile"]
    assert wrong == []


def test_rows_of_training_steps():
    rows, skipped, wrong = train_step.compare(SMALL, "cpu", CEILINGS, rounds=2)
    assert wrong == []
    assert {name.split()[1] for name in skipped} <= {"triton", "cuda"}  # where there is no GPU
    ours, peer = (next(row for row in rows if row.version == name) for name in ("partae cpu", "PyTorch eager"))
    assert ours.steps_per_s == pytest.approx(1 / ours.seconds)
    assert ours.frames_per_s == pytest.approx(SMALL["B"] * SMALL["N"] / ours.seconds)
    assert ours.fraction_of_floor == pytest.approx(ours.floor_seconds / ours.seconds)
    assert ours.ratio_to_best_peer == pytest.approx(peer.seconds / ours.seconds)
    assert peer.ratio_to_best_peer == 1
    assert peer.adadelta in train_step.forms()
    assert ours.error < common.GATE
    assert (ours.peak_bytes, ours.held_bytes) == (3, 4)


def test_every_sample_times_the_same_steps():
    for version in ("partae cpu", "PyTorch eager"):
        step = train_step.build(version, SMALL, "cpu")
        step.rewind()
        first = step().clone()
        step()
        step.rewind()
        assert torch.equal(step(), first)


def test_floor_of_a_training_step():
    paper = {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}
    assert train_step.flop(paper) == pytest.approx(189e6, rel=0.01)
    arithmetic = train_step.flop(paper) / 1e11 + 2e-7
    assert train_step.floor(paper, {**CEILINGS, "cache_bytes": 1 << 30}) == pytest.approx(arithmetic)
    slow = {**CEILINGS, "bytes_per_s": 1e6}
    assert train_step.floor(paper, slow) == pytest.approx(arithmetic)  # recordings of 1 MB lie in the cache
    assert train_step.floor({**paper, "H": 64}, slow) == pytest.approx(4 * 8192 * 64 / 1e6 + 2e-7)
    tensor = {**CEILINGS, "cache_bytes": 1 << 30, "tf32_flop_per_s": 9e11}
    assert train_step.floor(paper, tensor, "tf32") == pytest.approx(37.7e6 / 1e11 + 2e-7, rel=0.01)
    assert train_step.floor(paper, tensor) == pytest.approx(151e6 / 3e11 + 2e-7, rel=0.01)


def test_a_population_has_its_row():
    (single, many), wrong = population.compare(SMALL, "cpu", CEILINGS, rounds=2, models=3)
    assert wrong == []
    assert (single.models, single.threads, many.models) == (1, 1, 3)
    assert many.steps_per_s == pytest.approx(3 / many.seconds)
    assert many.of_threads_times_single == pytest.approx(many.steps_per_s / (many.threads * single.steps_per_s))
    assert many.error == 0  # the same bits as alone
    assert torch.get_num_threads() == many.threads


def test_a_population_trains_for_a_while(tmp_path, capsys):
    population.main(["--models", "2", "--seconds", "0.01", "--results", str(tmp_path)])
    report = json.loads((tmp_path / "population.json").read_text())
    found = report["population"]
    assert found["seconds"] >= 0.01
    assert found["extrapolated_seconds"] == pytest.approx(found["seconds"] / found["steps_of_each"] * 1e6)
    assert "Extrapolated, not run: 1,000,000 steps" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the high-water mark is Linux's")
def test_what_a_step_allocates_shows():
    small, _ = memory.resident_peak(lambda: torch.ones(1000))
    large, _ = memory.resident_peak(lambda: torch.ones(25_000_000).sum())
    assert small < 20e6
    assert 90e6 < large < 130e6


def test_memory_is_measured_in_processes_of_their_own(monkeypatch):
    monkeypatch.undo()
    asked = [{"version": name, "shape": SMALL, "threads": 1, "form": "plain"} for name in ("PyTorch eager", "nothere")]
    found, failed = memory.peaks(asked)
    assert 0 <= found["peak_bytes"] < 50e6
    assert 0 < found["held_bytes"] < 500e6
    assert "nothere" in failed["failure"]


def test_curves_of_small_sizes(tmp_path, capsys):
    assert command.main("train-step", with_curves=True, quick=True, results=tmp_path) == 0
    assert "### cpu: B (N 40, H 5, K 4, M 3, P 8)" in capsys.readouterr().out
    report = json.loads((tmp_path / "curves.json").read_text())
    points = report["curves"]["cpu"]
    assert [(point["axis"], point["value"]) for point in points] == [("B", 1), ("B", 2), ("H=K", 4), ("H=K", 8)]
    for point in points:
        assert {"partae cpu", "PyTorch eager"} <= {row["version"] for row in point["rows"]}
        assert point["fixed_seconds"]["partae cpu"] > 0
    for name in ("train_step", "curves"):
        assert (tmp_path / f"{name}.md").read_text().startswith("Measured")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    render.main([str(tmp_path / "curves.json")])
    assert "| floor, ms |" in (tmp_path / "curves.md").read_text()


def test_text_says_where_the_cost_does_not_grow():
    def point(value, flop, seconds):
        rows = [{"version": "partae cpu", "seconds": seconds, "floor_seconds": 1e-6, "shapes": SMALL}]
        return {"axis": "B", "value": value, "flop": flop, "rows": rows, "fixed_seconds": {"partae cpu": 5e-4}}

    flat = [point(1, 1e6, 1e-3), point(4, 4e6, 1.1e-3), point(16, 16e6, 4.4e-3)]
    said = curves.text({"curves": {"cpu": flat}})
    assert "- partae cpu, B 1 to 4: 4 times the work takes 1.10 times as long, since 50% of the step" in said
    assert "16:" not in said
    grows = [point(1, 1e6, 1e-3), point(4, 4e6, 4e-3)]
    assert "grows as the work does all along" in curves.text({"curves": {"cpu": grows}})


def test_curves_belong_to_training_steps():
    with pytest.raises(UserError, match="train-step --curves"):
        command.main("encode", with_curves=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there():
    with pytest.raises(UserError, match="no CUDA device"):
        command.main("train-step", device="cuda")


def test_floor_is_the_slower_of_arithmetic_and_memory():
    assert timing.Work(2e11, 1e9).floor(CEILINGS) == pytest.approx(2.0)
    assert timing.Work(1e9, 2e10).floor(CEILINGS) == pytest.approx(2.0)


def test_denoising_from_file_to_file(tmp_path, capsys):
    assert command.main("denoise", tmp_path / "rows.json") == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    rows = {row["version"]: row for row in report["rows"]}
    ours = rows["partae default"]
    assert ours["times_real_time"] == pytest.approx(12 / ours["seconds"])
    peers_there = [row for row in rows.values() if row["peer"]]
    assert len(peers_there) == 2 or "noisereduce" in report["skipped"]["noisereduce stationary"]
    best = min((row["seconds"] for row in peers_there), default=None)
    assert ours["ratio_to_best_peer"] == (best and pytest.approx(best / ours["seconds"]))
    assert "| **partae paper's** |" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [1e-4, float("nan")])
def test_denoising_whose_chunks_differ_is_not_timed(wrong, monkeypatch, capsys):
    monkeypatch.setattr(denoise, "error", lambda model, audio: wrong)
    monkeypatch.setattr(denoise, "_peers", lambda source, target: ({}, {}))
    assert command.main("denoise") == 1
    out = capsys.readouterr().out
    assert "partae default: not timed" in out
    assert "**partae" not in out


def test_ceilings_of_this_machine(monkeypatch):
    monkeypatch.setattr(ceilings, "ROUNDS", 2)
    found = MEASURED("cpu")
    assert found["flop_per_s"] == max(found["rates"].values()) > 1e9
    assert found["one_thread_flop_per_s"] > 1e9
    assert found["bytes_per_s"] > 1e8
    assert 0 < found["barrier_seconds"] < 1e-2


def test_gpu_script_parses():
    script = Path(command.__file__).parent / "gpu.sh"
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
