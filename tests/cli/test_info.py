"""Tests of `partae info`."""

import json

import pytest

import partae_fast as pf

from .bad_files import AUDIO, MODELS, assert_message, cases
from .conftest import RATE, sound, write


def test_model(partae):
    code, out, _ = partae("info", "m.safetensors", "--json")
    about = json.loads(out)
    assert code == 0 and about["format"] == "partae-model" and about["config"]["latents"] == 64
    assert about["spectrogram"]["rate"] == RATE and about["spectrogram"]["bins"] == 128
    assert about["statistics"]["std"]["least"] > 0 and about["tensors"]["w_enc"]["shape"] == [5, 128, 64]
    text = partae("info", "m.safetensors")[1]
    assert "filtered_denoising" in text and "noise_mean_square" in text


def test_audio_file(partae):
    write("two.flac", sound(0.5, 3, rate=48000, channels=2), 48000, "PCM_16")
    about = json.loads(partae("info", "two.flac", "--json")[1])
    assert (about["rate"], about["channels"], about["frames"]) == (48000, 2, 24000)
    assert (about["format"], about["subtype"]) == ("FLAC", "PCM_16")


def test_no_file_lists_back_ends(partae):
    listed = json.loads(partae("info", "--json")[1])["backends"]
    assert listed == {n: {"available": b.available, "reason": b.reason} for n, b in pf.backends().items()}


@pytest.mark.parametrize(("make", "message"), cases({k: v for k, v in AUDIO.items() if k not in ("nan", "inf")}))
def test_bad_recording_is_refused(refused, make, message):
    make()
    assert_message(refused("info", "bad.wav"), message, "bad.wav")


@pytest.mark.parametrize(("make", "message"), cases({k: v for k, v in MODELS.items() if k != "another version"}))
def test_bad_model_is_refused(refused, make, message):
    make()
    assert_message(refused("info", "bad.safetensors"), message, "bad.safetensors")
