"""The dense family against its reference: loss, every gradient by name, a step of Adam; and the reference itself."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.conformance import models, verify
from partae_fast.reference import dense_models as reference


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("backend", ["reference", "eager", "cpu"])
def test_models_are_those_of_the_reference(name, backend):
    found = list(verify(name, backend))
    kinds = ["float64"] if backend == "reference" else list(models.TYPES)
    assert [row.type for row in found if row.backend == backend] == kinds
    assert all(row.cases == len(models.cases(name)) for row in found)
    assert [row.failures for row in found if row.failures] == []


def test_a_gradient_that_is_off_is_caught(monkeypatch):
    plain = pf.CurroAutoencoder.training_loss

    def off(self, batch, penalty, backend):
        return plain(self, batch, penalty, backend) - 0.01 * self.encoder[1].weight[0, 0]

    monkeypatch.setattr(pf.CurroAutoencoder, "training_loss", off)
    (row,) = (row for row in verify("curro_autoencoder", "eager") if row.type == "float64" and row.backend == "eager")
    assert not row.passed and any("encoder.1.weight" in place for place in row.failures)


class Fixed:
    """A sampler of one batch."""

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
def test_the_trainer_takes_the_references_step(name):
    case = models.cases(name)[1]
    model = case.make()
    before = models.weights_of(model)
    pf.Trainer(model, Fixed(), penalty=models.PENALTY, optimizer="adam", progress=False).run(1)
    _, gradients = case.truth(before, *(part.numpy() for part in models.batch()))
    after = models.weights_of(model)
    for parameter, weight in reference.adam_step(before, gradients).items():
        np.testing.assert_allclose(after[parameter], weight, atol=2e-6, err_msg=parameter)
