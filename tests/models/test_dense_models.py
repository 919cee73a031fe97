"""The dense, partitioned and Curro autoencoders: loss, gradients and a step of Adam, compared with the reference."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.conformance import models, verify
from partae_fast.reference import dense_models as reference


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("backend", ["reference", "eager", "cpu"])
def test_models_match_the_reference(name, backend):
    results = list(verify(name, backend))
    kinds = ["float64"] if backend == "reference" else list(models.TYPES)
    assert [row.type for row in results if row.backend == backend] == kinds
    assert all(row.cases == len(models.cases(name)) for row in results)
    assert [row.failures for row in results if row.failures] == []


def test_a_wrong_gradient_is_detected(monkeypatch):
    correct_loss = pf.CurroAutoencoder.training_loss

    def wrong_loss(self, batch, penalty, backend):
        return correct_loss(self, batch, penalty, backend) - 0.01 * self.encoder[1].weight[0, 0]

    monkeypatch.setattr(pf.CurroAutoencoder, "training_loss", wrong_loss)
    (row,) = (row for row in verify("curro_autoencoder", "eager") if row.type == "float64" and row.backend == "eager")
    assert not row.passed and any("encoder.1.weight" in failure for failure in row.failures)


class OneBatchSampler:
    """A sampler that returns the same batch at every step."""

    batch = len(models.batch()[0])

    def batch_at(self, step, items=None):
        return tuple(part.float() for part in models.batch())

    def to(self, device):
        return self

    def fingerprint(self):
        return {}

    def ready(self, step):
        return 1


@pytest.mark.parametrize("name", models.MODELS)
def test_a_step_of_the_trainer_matches_the_reference(name):
    case = models.cases(name)[1]
    model = case.make()
    before = models.weights_of(model)
    pf.Trainer(model, OneBatchSampler(), penalty=models.PENALTY, optimizer="adam").run(1)
    _, gradients = case.truth(before, *(part.numpy() for part in models.batch()))
    after = models.weights_of(model)
    for parameter, expected in reference.adam_step(before, gradients).items():
        np.testing.assert_allclose(after[parameter], expected, atol=2e-6, err_msg=parameter)
