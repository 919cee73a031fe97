"""A reservoir: every crop is drawn, the same ones in a resumed run, in bounded memory and in whole launches."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.sampling.crops import CropSampler
from partae_fast.training.checkpoint import Checkpoint
from partae_fast.training.reservoir import ReservoirSampler
from partae_fast.training.stored import is_stored
from partae_fast.training.trainer import Trainer
from tests.calls import fit, prepare

BINS, FRAMES, BATCH = 6, 16, 4
SEGMENT = 8 * FRAMES
SLOT_MIB = SEGMENT * BINS * 4 / 2**20


def recordings(lengths, seed=0):
    """Return recordings whose bin 0 numbers all frames; the other bins are noise."""
    random = np.random.default_rng(seed)
    numbered = [random.random((length, BINS), dtype=np.float32) for length in lengths]
    for x, first in zip(numbered, np.cumsum([0, *lengths]), strict=False):
        x[:, 0] = first + np.arange(len(x))
    return numbered


@pytest.fixture
def make():
    """Return a function of slots and settings that makes a ReservoirSampler, of about 40 and 12 segments."""

    def sampler(slots=16, seed=0, noise_only=0.25, **settings):
        signal, noise = recordings([1000, 17, 16, 3000, 300], seed), recordings([1500], seed + 1)
        arguments = {"frames": FRAMES, "batch": BATCH, "mebibytes": slots * SLOT_MIB} | settings
        return ReservoirSampler([signal], [noise], noise_only=noise_only, seed=seed, **arguments)

    return sampler


def test_statistics_are_those_of_all_recordings(make):
    whole = CropSampler([recordings([1000, 17, 16, 3000, 300])], [recordings([1500], 1)], FRAMES, BATCH)
    for name in ("mean", "std", "noise_mean_square"):
        assert torch.equal(getattr(make(), name), getattr(whole, name))


def test_every_crop_lies_in_one_segment(make):
    sampler = make()
    starts = sorted(
        first
        for segment in sampler._groups[0].segments
        for first in np.cumsum([0, 1000, 17, 16, 3000])[segment.recording]
        + segment.first
        + np.arange(segment.frames - FRAMES + 1)
    )
    expected = [a + i for a, n in ((0, 1000), (1000, 17), (1017, 16), (1033, 3000), (4033, 300)) for i in range(n - 15)]
    assert starts == expected


def test_all_segments_come_before_any_comes_again(make):
    sampler = make(slots=16)
    count = len(sampler._groups[0].segments)
    for epoch in range(3):
        order = [sampler._segment(0, epoch * count + i) for i in range(count)]
        assert len({(s.recording, s.first) for s in order}) == count
    assert [sampler._segment(0, i) for i in range(count)] != [sampler._segment(0, count + i) for i in range(count)]


def test_batches_are_crops_of_all_recordings(make):
    sampler, firsts = make(noise_only=0.0), set()
    whole = np.concatenate(recordings([1000, 17, 16, 3000, 300]))
    step = 0
    while step < 3000:
        for at in range(step, step + min(4, sampler.ready(step))):
            x, _ = sampler.batch_at(at)
            for item in x.numpy():
                first = int(item[0, 0])
                np.testing.assert_array_equal(item, whole[first : first + FRAMES])
                firsts.add(first)
        step += sampler.ready(step)
    assert min(firsts) < 100 and max(firsts) > 4200
    assert len(firsts) > 0.2 * len(whole)
    assert len({s // 500 for s in firsts}) == 9


def test_the_segments_in_memory_follow_from_the_step_alone(make):
    one, other = make(), make()
    for step in range(0, 20 * one.every, one.every):
        one.ready(step)
        if step in (0, one.every, 7 * one.every, 19 * one.every):
            assert other.ready(step + one.every - 1) == 1
            assert torch.equal(one.source, other.source) and one._rows == other._rows
            assert torch.equal(one.batch_at(step)[0], other.batch_at(step)[0])


def test_frames_are_drawn_about_eight_times(make):
    sampler = make(slots=32, batch=16)
    drawn = sampler.every * 16 * FRAMES
    renewed = sum(group.turn for group in sampler._groups) * SEGMENT
    assert renewed > 0 and 6 < drawn / renewed < 10


@pytest.mark.parametrize("slots", [1, 3, 7])
def test_a_reservoir_that_is_too_small_is_refused_with_the_size_it_needs(make, slots):
    with pytest.raises(UserError, match=r"is too small for crops of 16 frames, 6 bins; give \d+ MiB or more"):
        make(slots=slots)


def test_recordings_that_fit_stay_in_memory(make):
    sampler = make(slots=500)
    assert sampler.ready(0) == 2**32 and sampler.ready(10**6) == 2**32 - 10**6
    assert all(group.turn == 0 for group in sampler._groups)


@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_training_takes_whole_launches_and_resumes_to_the_same_bits(tmp_path, backend, make, make_model):
    def trainer(**settings):
        return Trainer(make_model(), make(), backend=backend, **settings)

    whole = trainer()
    assert whole.fused() == backend
    steps = 3 * whole.sampler.every + 5
    whole.run(steps)
    trainer(checkpoint=tmp_path / "c").run(steps - 9)
    again = trainer(checkpoint=Checkpoint(tmp_path / "c", resume=True))
    again.run(9)
    assert again.history == whole.history and again.model.w_enc.equal(whole.model.w_enc)
    other = [recordings([1000, 17, 16, 3000, 301])], [recordings([1500], 1)]
    sampler = ReservoirSampler(*other, FRAMES, BATCH, 0.25, 0, 16 * SLOT_MIB)
    with pytest.raises(UserError, match="the recordings, their labels or their band differ"):
        Trainer(make_model(), sampler, backend=backend, checkpoint=Checkpoint(tmp_path / "c", resume=True))


# Recordings in files.

RATE = 8000
SETTINGS = {"system": "stowell2015", "rate": RATE, "low": 200.0, "high": 3900.0, "n_fft": 128, "hop": 64}


def write(path, seconds, seed):
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    samples = random.normal(0, 0.05, len(t)) + 0.2 * np.sin(2 * np.pi * 1500 * t) * (t % 1 < 0.3) * (seed == 1)
    files.write(path, samples.astype(np.float32), RATE, "FLOAT")
    return path


@pytest.fixture
def material(tmp_path):
    """Return the arguments of `fit`: files of 60 s with songs and 40 s of noise."""
    return [write(tmp_path / "song.wav", 60, 1)], [write(tmp_path / "noise.wav", 40, 2)]


def test_a_cache_that_fits_into_memory_changes_no_bit(tmp_path, material):
    quick = {"steps": 5, "backend": "eager", **SETTINGS}
    plain = fit(*material, **quick)
    for _ in range(2):  # the second run reads the spectrograms of the first
        cached = fit(*material, **quick, cache=tmp_path / "cache")
        assert cached.history == plain.history and cached.spectrogram == plain.spectrogram
        assert cached.noise_mean_square.equal(plain.noise_mean_square)


def test_labels_divide_spectrograms_on_disk_as_in_memory(tmp_path, material):
    (tmp_path / "song.txt").write_text("10\t20\tsong\n30\t31\tsong\n")
    plain = prepare(material[0], labels=tmp_path / "song.txt", **SETTINGS)
    cached = prepare(material[0], labels=tmp_path / "song.txt", cache=tmp_path / "cache", **SETTINGS)
    assert is_stored(cached.signal) and is_stored(cached.noise)
    assert cached.spectrogram.gain == pytest.approx(plain.spectrogram.gain, rel=1e-12)
    for on_disk, in_memory in ((cached.signal, plain.signal), (cached.noise, plain.noise)):
        for one, other in zip(on_disk, in_memory, strict=True):
            np.testing.assert_allclose(one[:], other, rtol=1e-6)


def test_both_models_are_trained_from_a_reservoir(tmp_path, material, caplog):
    settings = {**SETTINGS, "system": "field"}
    caplog.set_level("INFO", "partae_fast")
    model = fit(*material, cache=tmp_path / "cache", steps=12, backend="cpu", reservoir=2, **settings)
    assert "a reservoir of 2 of" in caplog.text and "MiB is renewed every" in caplog.text
    assert len(model.history.loss) == 12 and np.isfinite(model.history.loss).all()


MEMORY = """
import resource, sys
import partae_fast as pf
settings = dict(rate=8000, low=200.0, high=3900.0, n_fft=128, hop=16)
folder, files = sys.argv[1], sys.argv[2:]
def fit(material, steps):
    options = pf.TrainingOptions(steps=steps, backend="eager", cache=folder, reservoir=8)
    return pf.fit(material, system="stowell2015", settings=settings, options=options)
fit(pf.Material([files[0]], [files[1]]), 1)  # loads libraries and kernels
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
material = pf.Material(files[2:3], files[3:])
fit(material, 40)
magnitudes = [*material.spectrograms.signal, *material.spectrograms.noise]
size = 4 * sum(m.size for m in magnitudes) / 2**20
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_memory_is_that_of_the_reservoir_not_of_the_recordings(tmp_path):
    """120 MiB of spectrograms through a reservoir of 8."""
    paths = [write(tmp_path / f"{i}.wav", seconds, 1 + i % 2) for i, seconds in enumerate((5, 5, 600, 400))]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "cache"), *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    size, grown = map(float, done.stdout.split())
    assert size > 100 and grown < 50, (size, grown)
