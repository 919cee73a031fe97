"""The benchmarks as programs: every contest runs, a wrong version is not timed, rows become a table and a plot."""

import importlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from partae_fast import bench
from partae_fast.bench import ceilings, command, common, peers, quality, render, shapes, startup, timing
from partae_fast.errors import UserError

SMALL = {"B": 2, "N": 40, "H": 5, "K": 4, "M": 3, "P": 8}
CEILINGS = {"flop_per_s": 1e11, "bytes_per_s": 1e10}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One round of one small shape, and peers that are not compiled: what is tested is not how fast they are."""
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    monkeypatch.setattr(timing.measure, "__defaults__", (2,))
    monkeypatch.setattr(shapes, "SHAPES", [SMALL])
    monkeypatch.setattr(peers, "COMPILED", {})
    monkeypatch.setattr(command, "ceilings", lambda device: CEILINGS)
    monkeypatch.setattr(startup, "seconds", lambda: {"cold": 2.0, "warm": 1.0})


def test_every_contest_is_checked_and_timed(tmp_path, capsys):
    assert bench.main(None, tmp_path / "rows.json") == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    contests = dict.fromkeys(row["op"] for row in report["rows"])
    assert list(contests) == [
        "encode",
        "encode forward+backward",
        "decode",
        "decode forward+backward",
        "partitioned_loss",
        "train step",
    ]
    for row in report["rows"]:
        assert row["error"] <= common.GATE_BEHIND_ARGMAX
        assert 0 < row["seconds_10"] <= row["seconds"] <= row["seconds_90"]
        assert row["floor_seconds"] > 0
        assert row["peer"] == (row["version"] != "cpu")
    assert {"processor", "threads", "versions", "date", "commit"} <= set(report["environment"])
    assert "| encode | cpu | 2 40 5 4 3 8 | **cpu** |" in capsys.readouterr().out


def test_rows_become_a_table_and_a_plot(tmp_path):
    bench.main("encode", tmp_path / "rows.json")
    report = json.loads((tmp_path / "rows.json").read_text())
    render.plot(report, tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 5000
    assert render.table(report).count("\n| encode") == 4


@pytest.mark.parametrize("op", ["encode", "decode", "partitioned_loss", "train_step"])
def test_a_wrong_version_is_not_timed(op, capsys):
    module = importlib.import_module(f"partae_fast.bench.{op}")
    for contest in module.contests(SMALL, "cpu", ["cpu"]):
        right = contest.ours["cpu"]
        if op == "train_step":
            right.first_losses[3] *= 1.02
        else:
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
    assert bench.main(None, tmp_path / "rows.json", f"{file}:encode") == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["version"] for row in rows if row["op"] == "encode"] == ["cpu", "mine.py:encode", "eager"]


def test_unknown_op():
    with pytest.raises(UserError, match="op 'encoder' is not known"):
        bench.main("encoder")


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


def test_floor_is_the_slower_of_arithmetic_and_memory():
    assert timing.Work(2e11, 1e9).floor(CEILINGS) == pytest.approx(2.0)
    assert timing.Work(1e9, 2e10).floor(CEILINGS) == pytest.approx(2.0)


@pytest.mark.slow
def test_ceilings_of_this_machine():
    found = ceilings.ceilings("cpu")
    assert found["flop_per_s"] > 1e9
    assert found["bytes_per_s"] > 1e8


def test_quality_mixes_in_band_at_the_level_asked_for():
    random = np.random.default_rng(0)
    scene = quality.Scene("noise in noise", *(random.standard_normal(44100) for _ in range(3)), rate=44100)
    for level in quality.LEVELS:
        mixture, noise_only, scale = scene.mixture(level)
        inside = (
            quality.band(scene.song, 44100, *quality.BAND),
            quality.band(mixture - scene.song, 44100, *quality.BAND),
        )
        ratio = 20 * np.log10(np.linalg.norm(inside[0]) / np.linalg.norm(inside[1]))
        assert ratio == pytest.approx(level, abs=1e-6)
        assert np.allclose(noise_only, scale * scene.noise_only)


def test_gpu_script_parses():
    script = Path(bench.__file__).parent / "gpu.sh"
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
