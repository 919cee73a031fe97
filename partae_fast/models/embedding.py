"""Source separation by embeddings of time-frequency points, and by masks (Hetherly et al. 2018)."""

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
SCALINGS = ("standard", "unit")
_MAX_POINTS = 20000  # that k-means is fitted to; the other points are assigned to the nearest centre


class EmbeddingSeparator(StatefulModel):
    """Bidirectional LSTM layers, a linear layer to an embedding of each point, and a mask head.

    The input is the square roots of a recording's magnitudes, scaled over the recording, in training over each item;
    see `scaling`. Let e be the output of the linear layer; the embedding V is tanh(e), scaled to length 1. The mask
    head is a 1x1 convolution of e to two channels, and softmax. The objectives are

        sce       SCE, which moves V towards the table's vector of the loudest source at a point, and away from the
                  vector of the other source
        sce-mi    alpha SCE + (1 - alpha) MI, where MI is the squared error of the mask head's estimates
        dc-mi     alpha DC + (1 - alpha) MI, where DC is the affinity loss of deep clustering (Hershey et al. 2016)

    See `pf.contrastive_loss`, `pf.ratio_mask_loss` and `pf.affinity_loss`. The first of the two sources is the voice.

    Args:
        objective: "sce", "sce-mi" or "dc-mi".
        bins: of the spectrogram.
        voices, noises: sources of each kind that the table has a vector for; voices come first.
        layers: LSTM layers.
        hidden: units of a layer in each direction; the authors' program has 500 in both directions together.
        dimensions: D, of an embedding.
        alpha: weight of the first loss; None for the paper's, 0.9 with SCE and 0.1 with DC.
        affinity: "squared", the loss of the literature, or "norm", that of the authors' program; see
            `pf.affinity_loss`.
        inference: "mask", by the mask head, or "cluster", by k-means of V over a recording. None for "mask", or
            "cluster" with objective "sce", which has no mask head.
        seed: of the initial weights.
        scaling: "standard", to a mean of 0 and a deviation of 1, or "unit", to values from 0 to 1, as in the authors'
            program.

    Attributes:
        spectrogram: converts recordings to input; None until set. Saved with the model.
        mask: None.
        pool, taps: 1.
        needs_whole_recording: True, because each frame of the output depends on the whole recording.

    Raises UserError if an argument is out of range.

    >>> model = EmbeddingSeparator("sce-mi", bins=9, voices=2, noises=1, layers=1, hidden=4, dimensions=3)
    >>> model.masks(torch.rand(2, 20, 9)).shape
    torch.Size([2, 20, 9, 2])
    """

    RESTORED = ("seed", "alpha", "affinity", "inference", "scaling")

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
        scaling: str = "standard",
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
            ("scaling", scaling, SCALINGS),
        ):
            if value not in choices:
                raise UserError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha is {alpha}; it must be from 0 to 1")
        if objective == "sce" and (alpha != 1 or inference == "mask"):
            raise UserError("objective sce has no mask head; give alpha=1 and inference='cluster', or omit both")
        self.objective, self.bins, self.voices, self.noises = objective, bins, voices, noises
        self.layers, self.hidden, self.dimensions, self.seed = layers, hidden, dimensions, seed
        self.alpha, self.affinity, self.inference, self.scaling = float(alpha), affinity, inference, scaling
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps, self.needs_whole_recording, self.step = "auto", 1, 1, True, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            self.trunk = nn.LSTM(bins, hidden, layers, batch_first=True, bidirectional=True)
            self.embed = nn.Linear(2 * hidden, bins * dimensions)
            self.head = None if objective == "sce" else nn.Linear(dimensions, 2)
            self.table = None if objective == "dc-mi" else nn.Parameter(torch.randn(voices + noises, dimensions))

    @staticmethod
    def min_values(bins: int = 257, layers: int = 4, hidden: int = 250, dimensions: int = 10, **_: Any) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        return layers * hidden * hidden + 2 * hidden * bins * dimensions

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        names = ("objective", "bins", "voices", "noises", "layers", "hidden", "dimensions", "alpha", "affinity")
        return {name: getattr(self, name) for name in (*names, "inference", "seed", "scaling")}

    def embeddings(self, x: Tensor) -> Tensor:
        """Return e (B, T, F, D) of magnitudes x (B, T, F); V is tanh(e) scaled to length 1."""
        root = x.sqrt()
        if self.scaling == "unit":
            start = root.amin((1, 2), keepdim=True)
            scale = root.amax((1, 2), keepdim=True) - start
        else:
            start = root.mean((1, 2), keepdim=True)
            scale = (root - start).square().mean((1, 2), keepdim=True).sqrt()
        hidden, _ = self.trunk((root - start) / scale.clamp_min(1e-8))
        return self.embed(hidden).unflatten(2, (self.bins, self.dimensions))

    def masks(self, x: Tensor) -> Tensor:
        """Return masks of voice and noise, (B, T, F, 2), in [0, 1], of magnitudes x (B, T, F); see `inference`."""
        e = self.embeddings(x)
        if self.inference == "mask":
            assert self.head is not None
            return self.head(e).softmax(-1)
        return torch.stack([self._cluster_masks(item) for item in e])

    def clusters(self, x: Tensor, count: int) -> Tensor:
        """Return the cluster of V, 0 to count - 1, of each point of magnitudes x (B, T, F); (B, T, F) int64."""
        return torch.stack([_k_means(item, count)[0] for item in unit(self.embeddings(x))])

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Return the separation into voice and noise, or into clusters.

        Args:
            step: must be None, because there are no segments.
            count: None to separate voice and noise by `masks`, or the number of clusters. Clusters are called source1,
                source2 and so on, in no particular order.

        Raises UserError for another step, or for a count below 1.
        """
        if count is None or step is not None:
            return voice_and_noise(self.masks, step, None, whole_recording=True)
        if count < 1:
            raise UserError(f"count is {count}; it must be at least 1")

        def binary(x: Tensor) -> Tensor:
            return F.one_hot(self.clusters(x[None], count)[0], count).movedim(-1, 0).to(x.dtype)

        return Separation(tuple(f"source{number + 1}" for number in range(count)), binary, whole_recording=True)

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the voice's spectra of a mixture's spectra, both (channels, N, bins) complex."""
        return self.masks(spectra.abs())[..., 0] * spectra

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss, a scalar.

        Args:
            batch: mixture (B, T, F), parts (B, T, F, 2) and sources (B, 2); see `MixtureSampler`.
            penalty: ignored.
            backend: of the losses.
        """
        mixture, parts, sources = batch
        e, loudest = self.embeddings(mixture), parts.argmax(-1)
        if self.table is not None:
            loss = functional.contrastive_loss(e, self.table, sources, loudest, backend)
        else:
            loss = functional.affinity_loss(e.flatten(1, 2), loudest.flatten(1), variant=self.affinity, backend=backend)
        if self.head is None:
            return loss
        mask_loss = functional.ratio_mask_loss(self.head(e), mixture, parts, backend)
        return self.alpha * loss + (1 - self.alpha) * mask_loss

    def _cluster_masks(self, e: Tensor) -> Tensor:
        """Return binary masks of voice and noise, (T, F, 2), by two clusters of embeddings e (T, F, D).

        The voice is the cluster whose centre has the largest difference between its similarity to a voice of the table
        and its similarity to a noise. Without a table, it is the cluster with the larger mean mask of the voice.
        """
        labels, centres = _k_means(unit(e), 2)
        if self.table is not None:
            similarity = centres @ self.table.T
            score = similarity[:, : self.voices].amax(1) - similarity[:, self.voices :].amax(1)
        else:
            assert self.head is not None
            voice_mask = self.head(e).softmax(-1)[..., 0]
            score = torch.stack([voice_mask[labels == number].mean() for number in (0, 1)])
        voice = (labels == int(score.argmax())).to(e.dtype)
        return torch.stack([voice, 1 - voice], dim=-1)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def unit(e: Tensor) -> Tensor:
    """Return V, which is tanh(e) scaled to length 1 along the last axis."""
    v = e.tanh()
    return v / (v.square().sum(-1, keepdim=True) + 1e-12).sqrt()


def _k_means(v: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return cluster numbers (T, F) of vectors v (T, F, D), and centres (count, D); equal inputs give equal results."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise UserError("clusters need scikit-learn; pip install 'partae-fast[separation]'") from error
    points = v.detach().flatten(0, 1).float().cpu().numpy()
    if len(points) < count:
        raise UserError(f"{len(points)} points cannot make {count} clusters; give a longer recording")
    sample = points[:: -(-len(points) // _MAX_POINTS)]
    k_means = KMeans(count, n_init=4, random_state=0).fit(sample)  # pyright: ignore[reportArgumentType]
    labels = torch.from_numpy(k_means.predict(points)).long().view(v.shape[:2])
    return labels.to(v.device), torch.from_numpy(k_means.cluster_centers_).to(v.device, v.dtype)
