"""The figure of a trained model, with a partition and without, and the numbers in it."""

import matplotlib.figure
import numpy as np
import pytest
import torch

from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError
from partae_fast.models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from partae_fast.training import figure as module
from partae_fast.training.figure import activity, check_path, draw
from partae_fast.training.spectrograms import Spectrograms
from partae_fast.training.trainer import History


def trained(model, losses=5):
    """Return the model with a history of losses, on the eager back-end."""
    model.spectrogram, model.backend = Spectrogram(), "eager"
    model.history = History()
    model.history.loss.extend(1000.0 / (1 + i) for i in range(losses))
    return model


def material():
    random = np.random.default_rng(0)
    signal = [random.random((length, 32), np.float32) for length in (300, 9000)]
    return Spectrograms(Spectrogram(), signal, [random.random((200, 32), np.float32)])


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function of model, system and stages that returns the matplotlib Figure that `draw` writes."""
    pages = []
    real = matplotlib.figure.Figure.savefig

    def savefig(page, *arguments, **options):
        pages.append(page)
        real(page, *arguments, **options | {"dpi": 50})

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)

    def written_figure(model, *arguments):
        draw(tmp_path / "a.png", model, material(), *arguments)
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
        return pages[-1]

    return written_figure


def panel(page, title):
    return next(axes for axes in page.axes if axes.get_title(loc="left") == title)


def test_foreground_and_background_are_separate_in_every_panel(drawn):
    page = drawn(trained(ConvPartitionedAutoencoder(latents=40, background=0.1), 1000), "stowell2015")
    assert page.get_suptitle().startswith("partitioned autoencoder, stowell2015: 40 latents of 9 frames (26.1 ms)")
    assert "27.0 s that may have signal and 0.6 s of noise, 1.7 to 7.2 kHz, 32 bins" in page.get_suptitle()
    dots = panel(page, "mean activity of latents")
    assert [text.get_text() for text in dots.get_legend().get_texts()] == ["foreground, 36", "background, 4"]
    titles = [axes.get_title(loc="left") for axes in page.axes[2:]]  # 32 filters a row
    assert titles == [f"{name} of the decoder, by mean frequency" if name else "" for name in NAMES]
    assert panel(page, "loss of each batch, and means").get_legend() is None


NAMES = ("foreground filters", "", "background filters")


def test_a_model_without_a_partition(drawn):
    """As from preset field: the last of three models, with the losses of all."""
    page = drawn(trained(ConvDenoisingAutoencoder(latents=8), 1100), "field", [300, 400, 400])
    assert page.get_suptitle().startswith(
        "denoising autoencoder, trained on a partitioned one's estimates, field: 8 latents"
    )
    dots = panel(page, "mean activity of latents")
    assert [text.get_text() for text in dots.get_legend().get_texts()] == ["8 latents, no background"]
    assert not [axes for axes in page.axes if "ground" in axes.get_title(loc="left")]
    losses = panel(page, "loss of each batch, and means")
    ends = {line.get_label(): line.get_xdata()[-1] for line in losses.lines if "autoencoder" in line.get_label()}
    assert ends == {"partitioned autoencoder": 300, "denoising autoencoder 1": 700, "denoising autoencoder 2": 1100}


@pytest.mark.parametrize("losses", [0, 1, 3])
@pytest.mark.parametrize("kind", [ConvPartitionedAutoencoder, ConvDenoisingAutoencoder])
def test_few_steps_and_latents_without_activity(drawn, kind, losses, recwarn):
    model = trained(kind(latents=3), losses)
    with torch.no_grad():
        model.w_enc.zero_()
        model.w_dec[:, 0].zero_()
    drawn(model, "field", [300, 400, 400])
    assert not recwarn.list


def test_activity_is_the_mean_of_pooled_values_times_the_filters_norm():
    model = trained(ConvPartitionedAutoencoder(bins=32, latents=2, taps=1, pool=4))
    with torch.no_grad():
        model.w_enc.zero_()
        model.w_enc[0, 3, 0], model.w_enc[0, 5, 1] = 1.0, 2.0
        model.w_dec.zero_()
        model.w_dec[0, 0, 3], model.w_dec[0, 1, :4] = 3.0, 0.5
    quiet, loud = np.zeros((8, 32), np.float32), np.zeros((4, 32), np.float32)
    quiet[1, 3], loud[2, 5] = 4.0, 7.0  # two windows, one with bin 3, and one window with bin 5
    assert activity(model, [quiet, loud]) == pytest.approx([4 / 3 * 3, 14 / 3 * 1])


def test_activity_of_long_recordings_uses_a_bounded_number_of_frames(monkeypatch):
    model = trained(ConvPartitionedAutoencoder(latents=2))
    frames = []
    monkeypatch.setattr(model, "latents", lambda x: frames.append(x.shape[1]) or (x[:, :1, :2], None))
    long = np.broadcast_to(np.float32(1), (10_000_000, 32))
    assert activity(model, [long, long]) == pytest.approx(model.w_dec.detach().norm(dim=(0, 2)).numpy())
    assert sum(frames) <= module._CHUNK * module._CHUNKS


def test_filters_are_sorted_by_mean_frequency_within_their_group():
    model = trained(ConvPartitionedAutoencoder(bins=32, latents=4, taps=2, background=0.25))
    with torch.no_grad():
        model.w_dec.zero_()
        model.w_dec[:, 0, 30] = 1.0  # the background's only one
        model.w_dec[:, 1, 20] = -1.0
        model.w_dec[0, 2, 2], model.w_dec[1, 2, 4] = 1.0, 1.0  # a sweep
        model.w_dec[:, 3, 5] = 9.0
    assert {name: latents.tolist() for name, latents in module._partition(model).items()} == {
        "foreground": [2, 3, 1],
        "background": [0],
    }


def test_filters_are_side_by_side_each_scaled_to_its_largest_weight():
    filters = np.zeros((2, 3, 5), np.float32)  # (taps, filters, bins)
    filters[0, 0, 4], filters[1, 1, 0] = 10.0, -0.5
    tiles = module._side_by_side(filters)
    assert tiles.shape == (5, 9)
    assert {(int(y), int(x)): tiles[y, x] for y, x in np.argwhere(np.nan_to_num(tiles))} == {(4, 0): 1.0, (0, 4): -1.0}
    assert np.isnan(tiles[:, 2::3]).all() and not np.isnan(tiles[:, [0, 1, 3, 4, 6, 7]]).any()


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "there.png").write_bytes(b"")
    for name, reason in (
        ("a.jpeg", r"\.png or \.pdf or \.svg"),
        ("a", "the name must end"),
        ("there.png", "exists already"),
    ):
        with pytest.raises(UserError, match=reason):
            check_path(tmp_path / name)
    check_path(tmp_path / "there.png", overwrite=True)
