"""The fixtures of tests/training."""

from ..training.conftest import make_model, make_sampler, make_trainer, material  # noqa: F401 (fixtures)
