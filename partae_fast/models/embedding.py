"""Embeddings of time-frequency points that tell sources apart, and masks (Hetherly et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import functional
from ..errors import UserError
from ..functional.affinity import VARIANTS
from .separation import Separation, voice_and_noise
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask

OBJECTIVES = ("sce", "sce-mi", "dc-mi")
INFERENCE = ("mask", "cluster")
_CLUSTERED = 20000  # points that k-means looks at; the others then go to the nearest centre


class EmbeddingSeparator(StatefulModel):
    """Recurrent layers, a linear one to an embedding of each point, and what tells sources apart by it.

    Bidirectional LSTM layers with tanh hear a whole recording: the roots of its magnitudes, brought to mean 0 and
    deviation 1 over the recording, in training over each item, so that inference equals training. V is the linear
    layer's output e after tanh, scaled to length 1.

        sce       loss SCE: V near the table's vector of the source that is the loudest at a point, far from the other's
        sce-mi    alpha SCE + (1 - alpha) MI, MI the squared error of the parts that a second head's masks make: a 1x1
                  convolution of e to two channels, softmax
        dc-mi     alpha DC + (1 - alpha) MI, DC the affinity loss of deep clustering (Hershey et al. 2016)

    See `pf.contrastive_loss`, `pf.ratio_mask_loss`, `pf.affinity_loss`. The first of the two parts is the voice.

    Args:
        objective: "sce", "sce-mi" or "dc-mi".
        bins: of the spectrogram.
        voices, noises: how many sources of each kind the table has a vector for, the voices' first.
        layers: of LSTM. hidden: units of each in either direction; 250 are the authors' program's 500 in all.
        dimensions: D, of an embedding.
        alpha: weight of the first loss; None for the paper's, 0.9 with SCE, 0.1 with DC.
        affinity: "squared", the textbook's loss, or "norm", that of the authors' program; see `pf.affinity_loss`.
        inference: "mask", by the second head; or "cluster", by k-means of V over a recording, to which alone "sce"
            listens. None: by the mask where there is one.
        seed: of the weights before the first step.

    Attributes:
        spectrogram: how recordings become input; None until set, saved with the model. mask: None.
        pool, taps: 1. whole: True, for what becomes of a frame depends on all of a recording.

    Raises UserError where an argument is out of range.

    >>> model = EmbeddingSeparator("sce-mi", bins=9, voices=2, noises=1, layers=1, hidden=4, dimensions=3)
    >>> model.masks(torch.rand(2, 20, 9)).shape
    torch.Size([2, 20, 9, 2])
    """

    RESTORED = ("seed", "alpha", "affinity", "inference")

    def __init__(
        self,
        objective: str = "sce-mi",
        bins: int = 257,
        voices: int = 1,
        noises: int = 1,
        layers: int = 4,
        hidden: int = 250,
        dimensions: int = 10,
        alpha: float | None = None,
        affinity: str = "squared",
        inference: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"bins": bins, "voices": voices, "noises": noises, "layers": layers, "hidden": hidden}
        for name, value in {**counts, "dimensions": dimensions}.items():
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**16:
                raise UserError(f"{name} is {value!r}; it must be a whole number, from 1 to 65535")
        alpha = {"dc-mi": 0.1, "sce-mi": 0.9}.get(objective, 1.0) if alpha is None else alpha
        inference = ("cluster" if objective == "sce" else "mask") if inference is None else inference
        for name, value, choices in (
            ("objective", objective, OBJECTIVES),
            ("affinity", affinity, VARIANTS),
            ("inference", inference, INFERENCE),
        ):
            if value not in choices:
                raise UserError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha is {alpha}; it must be from 0 to 1")
        if objective == "sce" and (alpha != 1 or inference == "mask"):
            raise UserError("a model of objective sce has no mask: alpha is 1, and it infers by clusters")
        self.objective, self.bins, self.voices, self.noises = objective, bins, voices, noises
        self.layers, self.hidden, self.dimensions, self.seed = layers, hidden, dimensions, seed
        self.alpha, self.affinity, self.inference = float(alpha), affinity, inference
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps, self.whole, self.step = "auto", 1, 1, True, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            self.trunk = nn.LSTM(bins, hidden, layers, batch_first=True, bidirectional=True)
            self.embed = nn.Linear(2 * hidden, bins * dimensions)
            self.head = None if objective == "sce" else nn.Linear(dimensions, 2)
            self.table = None if objective == "dc-mi" else nn.Parameter(torch.randn(voices + noises, dimensions))

    @staticmethod
    def least_numbers(bins: int = 257, layers: int = 4, hidden: int = 250, dimensions: int = 10, **_: Any) -> int:
        """How many numbers a model of such a configuration has at least."""
        return layers * hidden * hidden + 2 * hidden * bins * dimensions

    def config(self) -> dict[str, Any]:
        """The arguments that construct an equal, untrained model."""
        names = ("objective", "bins", "voices", "noises", "layers", "hidden", "dimensions", "alpha", "affinity")
        return {name: getattr(self, name) for name in (*names, "inference", "seed")}

    def embeddings(self, x: Tensor) -> Tensor:
        """e (B, T, F, D) of magnitudes x (B, T, F); V is tanh(e) scaled to length 1."""
        heard = x.sqrt()
        mean = heard.mean((1, 2), keepdim=True)
        deviation = (heard - mean).square().mean((1, 2), keepdim=True).sqrt()
        hidden, _ = self.trunk((heard - mean) / deviation.clamp_min(1e-8))
        return self.embed(hidden).unflatten(2, (self.bins, self.dimensions))

    def masks(self, x: Tensor) -> Tensor:
        """The shares of voice and noise, (B, T, F, 2), of magnitudes x (B, T, F), as `inference` says; in 0 .. 1."""
        e = self.embeddings(x)
        if self.inference == "mask":
            assert self.head is not None
            return self.head(e).softmax(-1)
        return torch.stack([self._voiced(item) for item in e])

    def clusters(self, x: Tensor, count: int) -> Tensor:
        """To which of `count` clusters of V each point belongs, (B, T, F) int64, of magnitudes x (B, T, F)."""
        return torch.stack([_clustered(item, count)[0] for item in unit(self.embeddings(x))])

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Into voice and noise by `masks`; or into `count` clusters, source1 and so on, which have no order.

        Raises UserError for a step, as there are no segments, and for a count below 1.
        """
        if count is None or step is not None:
            return voice_and_noise(self.masks, step, None, whole=True)
        if count < 1:
            raise UserError(f"{count} sources were asked for; there must be 1 or more")

        def binary(x: Tensor) -> Tensor:
            return F.one_hot(self.clusters(x[None], count)[0], count).movedim(-1, 0).to(x.dtype)

        return Separation(tuple(f"source{number + 1}" for number in range(count)), binary, whole=True)

    def estimate(self, spectra: Tensor) -> Tensor:
        """The voice's spectra of recordings' spectra, both (channels, N, bins) complex, each channel on its own."""
        return self.masks(spectra.abs())[..., 0] * spectra

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """The loss of a `MixtureSampler`'s mixture (B, T, F), parts (B, T, F, 2) and sources (B, 2), a scalar.

        There is nothing to be penalised.
        """
        mixture, parts, sources = batch
        e, loudest = self.embeddings(mixture), parts.argmax(-1)
        if self.table is not None:
            loss = functional.contrastive_loss(e, self.table, sources, loudest, backend)
        else:
            loss = functional.affinity_loss(e.flatten(1, 2), loudest.flatten(1), variant=self.affinity, backend=backend)
        if self.head is None:
            return loss
        inferred = functional.ratio_mask_loss(self.head(e), mixture, parts, backend)
        return self.alpha * loss + (1 - self.alpha) * inferred

    def _voiced(self, e: Tensor) -> Tensor:
        """Binary masks (T, F, 2) of embeddings e (T, F, D): of two clusters, one is taken for the voice.

        It is the one whose centre is the nearer to the table's vectors of voices, the farther from those of noises;
        without a table, the one to which the mask head gives more of the voice.
        """
        labels, centres = _clustered(unit(e), 2)
        if self.table is not None:
            near = centres @ self.table.T
            score = near[:, : self.voices].amax(1) - near[:, self.voices :].amax(1)
        else:
            assert self.head is not None
            voiced = self.head(e).softmax(-1)[..., 0]
            score = torch.stack([voiced[labels == number].mean() for number in (0, 1)])
        voice = (labels == int(score.argmax())).to(e.dtype)
        return torch.stack([voice, 1 - voice], dim=-1)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def unit(e: Tensor) -> Tensor:
    """V, tanh(e) scaled to length 1 along the last axis."""
    v = e.tanh()
    return v / (v.square().sum(-1, keepdim=True) + 1e-12).sqrt()


def _clustered(v: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Labels (T, F) of unit vectors (T, F, D), and the centres (count, D), by k-means; the same for the same input."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise UserError("clusters need the library scikit-learn: pip install 'partae-fast[separation]'") from error
    points = v.detach().flatten(0, 1).float().cpu().numpy()
    if len(points) < count:
        raise UserError(f"{len(points)} points cannot be {count} clusters; give a longer recording")
    seen = points[:: -(-len(points) // _CLUSTERED)]
    found = KMeans(count, n_init=4, random_state=0).fit(seen)  # pyright: ignore[reportArgumentType]
    labels = torch.from_numpy(found.predict(points)).long().view(v.shape[:2])
    return labels.to(v.device), torch.from_numpy(found.cluster_centers_).to(v.device, v.dtype)
