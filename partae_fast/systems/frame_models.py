"""What training of the models of single frames shares: settings of their input, samplers, the model made ready."""

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from ..audio.frame_input import FrameInput
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..models.frame_autoencoder import FrameAutoencoder
from ..models.frame_layers import check_number
from ..sampling.frames import RecordedFrames
from ..training.material import Material
from ..training.options import option as setting

THESIS = "Lusterman 2016, A partitioned autoencoder for audio de-noising (thesis, The Cooper Union)"
STEPS, LEARNING_RATE, OPTIMIZER = 2000, 1e-3, "adam"  # of the thesis
WEAK = "recordings", "noise", "labels", "clean"  # what the partitioned ones may learn from


@dataclass(frozen=True)
class FrameSettings:
    """Settings that every model of single frames has."""

    input: str = setting("magnitude", "what a frame is: time, magnitude, context or complex")
    n_fft: int = setting(1024, "samples in a window")
    spectrum: str = setting("one-sided", "its bins: one-sided, without-nyquist or two-sided")
    context: int = setting(3, "frames on either side, of input context")
    rate: int = setting(16000, "sample rate of the audio that the model takes, Hz")
    snr: float = setting(0.0, "signal-to-noise ratio of a batch's mixtures of clean recordings and noise, dB (eq. 24)")
    batch: int = setting(128, "frames in a batch")
    statistics: str = setting("running", "what batch normalisation uses once trained: running, or the batch's own")
    as_program: bool = setting(False, "follow the thesis's program where it differs from its text")


_Settings = TypeVar("_Settings", bound=FrameSettings)


def settled(settings: _Settings, program: dict[str, Any], batch_norm: str) -> _Settings:
    """Settings that go together, with those of the thesis's program where these are asked for.

    Raises UserError where one is out of range; the model and the sampler check the others.
    """
    if settings.as_program:
        defaults = {field.name: field.default for field in fields(settings)}
        program = {"spectrum": "two-sided", **program}
        given = {name for name in program if getattr(settings, name) != defaults[name]}
        settings = replace(settings, **{name: value for name, value in program.items() if name not in given})
    check_number("snr", settings.snr)
    check_number("rate", settings.rate, 1)
    if settings.batch < 2 and batch_norm != "none":
        raise UserError(f"batch is {settings.batch}; batch normalisation takes 2 frames or more")
    return settings


def ready(model: FrameAutoencoder, rate: int) -> FrameAutoencoder:
    """The model, told how recordings become spectra: all frequencies, half a window from frame to frame."""
    n_fft = model.input.n_fft
    model.spectrogram = Spectrogram(rate=rate, n_fft=n_fft, hop=n_fft // 2, low=0.0, high=rate / 2)
    return model


def weak_sampler(material: Material, settings: FrameSettings, input: FrameInput, noise_only: float, seed: int) -> Any:
    """Frames for a model that learns from what is noise-only and what is not.

    Of noisy recordings as they are, and of noise; or of clean recordings, mixed with noise here, white unless noise is
    material. Raises UserError where neither or both are material.
    """
    if bool(material.recordings) == bool(material.clean):
        raise UserError("give either noisy recordings or clean ones (--clean), which are mixed with noise")
    if not 0 < noise_only < 1 or round(settings.batch * noise_only) == 0:
        raise UserError(
            f"noise_only is {noise_only} of {settings.batch} items; it must leave at least one item of either kind"
        )
    if material.clean:
        if material.labels:
            raise UserError("labels are for noisy recordings; clean ones (--clean) have none")
        signal, noise, snr = material.channels("clean", settings.rate), _noise(material, settings.rate), settings.snr
    else:
        (signal, noise), snr = material.weakly_labelled(settings.rate), None
    program = settings.as_program
    return RecordedFrames(signal, noise, input, snr, settings.batch, noise_only, seed, program, program)


def clean_sampler(material: Material, settings: FrameSettings, input: FrameInput, seed: int) -> RecordedFrames:
    """Frames of clean recordings, mixed with noise, white unless noise is material."""
    signal, noise = material.channels("clean", settings.rate), _noise(material, settings.rate)
    program = settings.as_program
    return RecordedFrames(signal, noise, input, settings.snr, settings.batch, 0.0, seed, program, program)


def _noise(material: Material, rate: int) -> list[Any] | None:
    return material.channels("noise", rate) if material.noise else None
