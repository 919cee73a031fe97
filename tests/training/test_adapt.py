"""Adaptation to a recording: the reference's steps, and when it ends."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.models.adaptive_dae import AdaptiveDenoisingAutoencoder, stack_frames
from partae_fast.reference.adaptive_dae import adaptation_step, purity_error
from partae_fast.training.adapt import Settings, _Loop, adapt, settled

RATE = 8000


@pytest.fixture
def model():
    model = AdaptiveDenoisingAutoencoder(bins=17, context=3, hidden=12, seed=2)
    model.spectrogram = pf.Spectrogram(rate=RATE, n_fft=32, hop=8, low=0.0, high=4000.0, window="sqrt-hann")
    model.level.fill_(0.5)
    model.top.load_state_dict(model.bottom.state_dict())  # equal networks, so that the purity error is small
    return model


@pytest.fixture
def audio():
    return np.random.default_rng(1).normal(0, 0.1, 400).astype(np.float32)


def network(layers):
    pairs = zip(layers.weights, layers.biases, strict=True)
    return [(w.detach().numpy().astype(float), b.detach().numpy().astype(float)) for w, b in pairs]


def stacked(model, audio):
    assert model.spectrogram
    magnitudes = torch.from_numpy(model.spectrogram.magnitude(audio))[None]
    return stack_frames(magnitudes, model.context)[0].numpy().astype(float)


@pytest.mark.parametrize("gradient", ["through", "held"])
def test_epochs_are_steps_of_the_reference(model, audio, gradient):
    settings = Settings(gradient=gradient, learning_rate=1e-4, clip=0.5, batch=20, until_settled=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = adapt(model, audio, RATE, 2, settings)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    frames = stacked(result.model, audio)
    assert np.sqrt(np.mean(frames[:, 17:34] ** 2)) == pytest.approx(0.5, rel=1e-5)
    bottom, top, velocity, purity = network(model.bottom), network(model.top), None, []
    for epoch in range(3):
        error, power, _ = purity_error(bottom, top, frames)
        purity.append(error / power)
        for start in range(0, len(frames), 20) if epoch < 2 else ():
            block = frames[start : start + 20]
            _, bottom, velocity = adaptation_step(bottom, top, block, velocity, gradient == "held", 1e-4, 0.95, 0.5)
    np.testing.assert_allclose(result.purity, purity, rtol=1e-4)
    for layer, expected in zip(network(result.model.bottom), bottom, strict=True):
        for a, b in zip(layer, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert result.epoch == 2 and "2 epochs" in result.reason


def test_keep_best_returns_the_best_epoch_and_watch_is_called_for_each(model, audio):
    watched = []
    settings = Settings(learning_rate=3e-5, until_settled=False)  # so large that the error rises again
    result = adapt(model, audio, RATE, 6, settings, keep_best=True, watch=lambda *seen: watched.append(seen[:2]))
    assert [error for _, error in watched] == result.purity and [epoch for epoch, _ in watched] == list(range(7))
    assert 0 < result.epoch == int(np.argmin(result.purity)) < 6
    again = adapt(model, audio, RATE, result.epoch, settings)
    assert all(torch.equal(a, b) for a, b in zip(result.model.parameters(), again.model.parameters(), strict=True))


def test_adaptation_settles_when_the_purity_error_has_fallen_by_a_tenth_or_rises():
    assert (Settings().fall, Settings().tolerance, Settings().patience) == (0.9, 0.0, 1)
    assert not settled([1.0], Settings()) and not settled([1.0, 0.95, 0.91], Settings())
    assert "has fallen to 90% of 1" in settled([1.0, 0.95, 0.9], Settings())
    assert "no less error for 1 epoch" in settled([1.0, 0.95, 0.96], Settings())
    slow = Settings(tolerance=0.1, patience=2, fall=0.0)
    assert not settled([1.0, 0.8, 0.6, 0.5], slow)
    assert "no less error for 2 epochs" in settled([1.0, 0.8, 0.79, 0.78], slow)


def test_the_purity_of_clean_signals_does_not_end_adaptation(model, audio):
    model.purity.fill_(1e9)  # any output is purer
    settings = Settings(learning_rate=1e-6)
    assert adapt(model, audio, RATE, 3, settings).epoch == 3


def test_adaptation_stops_when_the_error_has_fallen(model, audio):
    through = adapt(model, audio, RATE, 3, Settings(learning_rate=1e-5, until_settled=False)).purity
    assert through == sorted(through, reverse=True)
    fall = (through[1] + through[2]) / 2 / through[0]
    result = adapt(model, audio, RATE, 3, Settings(learning_rate=1e-5, fall=fall))
    assert result.epoch == 2 and result.purity == through[:3]


def test_dropout_differs_in_each_step_and_is_the_same_in_each_run(model, audio):
    settings = Settings(dropout=0.5, learning_rate=1e-3)
    one, two = (adapt(model, audio, RATE, 2, settings).purity for _ in range(2))
    assert one == two != adapt(model, audio, RATE, 2, Settings(learning_rate=1e-3)).purity


def test_a_graph_of_an_epoch_draws_other_units_in_each_replay(model, audio, monkeypatch):
    """A graph repeats the Python numbers that it was captured with, and tensors have changed."""
    settings = Settings(dropout=0.5, learning_rate=1e-3)
    expected = adapt(model, audio, RATE, 3, settings).purity
    begin = _Loop.__init__

    def begin_captured(loop, *arguments):
        begin(loop, *arguments)
        loop.captured = True

    def capture(loop):
        step = loop.model.step

        def replay():
            loop.model.step = step
            loop._steps()
            loop._measure()

        return SimpleNamespace(replay=replay)

    monkeypatch.setattr(_Loop, "__init__", begin_captured)
    monkeypatch.setattr(_Loop, "_capture", capture)
    assert adapt(model, audio, RATE, 3, settings).purity == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": Settings(gradient="around")}, "gradient"),
        ({"settings": Settings(learning_rate=0.0)}, "learning_rate"),
        ({"settings": Settings(batch=0)}, "batch"),
        ({"settings": Settings(momentum=1.0)}, "momentum"),
        ({"settings": Settings(fall=1.0)}, "fall is 1.0; it must be from 0"),
        ({"settings": Settings(learning_rate=1e6, clip=1e30), "epochs": 30}, "smaller learning_rate"),
        ({"audio": np.zeros(100, np.float32)}, "silent"),
        ({"audio": np.full(100, np.nan, np.float32)}, "is nan"),
        ({"model": pf.ConvDenoisingAutoencoder()}, "cannot adapt"),
    ],
)
def test_unusable_arguments_are_refused(model, audio, arguments, message):
    with pytest.raises(pf.UserError, match=message):
        adapt(**{"model": model, "audio": audio, "rate": RATE, "epochs": 1} | arguments)
