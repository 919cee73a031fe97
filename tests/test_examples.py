"""Tests of the scripts in examples/, on synthetic recordings."""

import importlib
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RATE = 8000
verify = importlib.import_module("partae_fast.conformance.verify")  # the package has a function of this name


@pytest.fixture
def scene(tmp_path):
    """Return a folder with calls.wav, its labels calls.txt, and noise.wav.

    The calls are tone bursts in noise.
    """
    rng, times = np.random.default_rng(0), np.arange(6 * RATE) / RATE
    noise = 0.05 * rng.standard_normal((2, len(times)))
    bursts = 0.3 * np.sin(2 * np.pi * 1500 * times) * (times % 2 < 0.5)
    soundfile.write(tmp_path / "calls.wav", bursts + noise[0], RATE)
    soundfile.write(tmp_path / "noise.wav", noise[1], RATE)
    (tmp_path / "calls.txt").write_text("".join(f"{start}\t{start + 0.5}\tcall\n" for start in (0, 2, 4)))
    return tmp_path


def test_every_example_is_under_40_lines():
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert [path.name for path in scripts] == ["check_kernel.py", "compare_penalties.py", "denoise_recordings.py"]
    assert all(len(path.read_text().splitlines()) < 40 for path in scripts)


def test_denoise_recordings(python, scene):
    recording, out = scene / "calls.wav", scene / "out"
    done = python(
        str(EXAMPLES / "denoise_recordings.py"), str(scene / "calls.txt"), str(out), str(recording), "--steps", "60"
    )
    assert done.returncode == 0, done.stderr
    parts = [soundfile.read(out / f"calls_{part}.wav")[0] for part in ("signal", "noise")]
    assert np.allclose(sum(parts), soundfile.read(recording)[0], atol=1e-3)
    assert (out / "model.safetensors").is_file()


def test_compare_penalties(python, scene):
    files = [str(scene / name) for name in ("calls.wav", "noise.wav", "sweep")]
    done = python(str(EXAMPLES / "compare_penalties.py"), *files, "--steps", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of noise and") == 4 and (scene / "sweep" / "results.csv").is_file()


def test_check_kernel(monkeypatch, capsys):
    """With fewer calls of the kernel than a user's run."""
    monkeypatch.setattr(verify, "CANDIDATE", replace(verify.CANDIDATE, draws=2, times=50, beyond=()))
    runpy.run_path(str(EXAMPLES / "check_kernel.py"), run_name="__main__")
    output = capsys.readouterr().out
    assert output.count(" ok") == 3 and "FAILED" not in output
    assert "mine: " in output and "ms" in output
