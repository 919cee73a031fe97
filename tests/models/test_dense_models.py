"""The dense family against its reference: loss, every gradient by name, a step of Adam; and the reference itself."""

import dataclasses

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.conformance.truth import differences
from partae_fast.reference import dense_models as reference

B, TINY = 6, {"n_fft": 8, "seed": 1}  # 5 bins
NOISE_ONLY = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])


@dataclasses.dataclass
class Case:
    name: str
    model: object
    reference: object
    penalty: float = 0.0


def supervised(**settings):
    model = pf.DenseAutoencoder(**TINY, **settings)
    kept = {name: getattr(model, name) for name in ("activation", "rectified_output", "l2", "l1")}
    return model, lambda w, x, target, y: reference.dense_autoencoder(w, x, target, **kept)


def partitioned(**settings):
    model = pf.DensePartitionedAutoencoder(**TINY, latents=7, **settings)
    kept = {name: getattr(model, name) for name in ("rectified_output", "mean_over_items", "unpenalised")}
    return model, lambda w, x, _, y: reference.partitioned_autoencoder(w, x, y, model.for_noise, 0.75, **kept)


def curro(**settings):
    model = pf.CurroAutoencoder(**TINY, hidden=9, latents=4, decoder=6, **settings)
    return model, lambda w, x, _, y: reference.curro_autoencoder(w, x, y)


CASES = [
    *(Case(f"supervised, {n}", *supervised(layers="7", batch_norm=n)) for n in ("none", "input", "hidden", "every")),
    Case("supervised, rectified", *supervised(layers="7", rectified_output=True)),
    Case("deep", *supervised(layers="7-4-7", activation="leaky_relu", batch_norm="every", l2=1e-2, l1=1e-2)),
    *(Case(f"partitioned, {n}", *partitioned(batch_norm=n), 0.75) for n in ("none", "input", "every")),
    Case("partitioned, rectified", *partitioned(rectified_output=True), 0.75),
    Case("partitioned, mean over items", *partitioned(mean_over_items=True, background=0.5), 0.75),
    Case("partitioned, one latent left out", *partitioned(unpenalised=1), 0.75),
    *(Case(f"curro, {n}", *curro(batch_norm=n)) for n in ("none", "input", "every")),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def batch():
    x, target = 3 * torch.rand(2, B, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, target, NOISE_ONLY.double()


def of(model):
    return {name: parameter.detach().double().numpy().copy() for name, parameter in model.named_parameters()}


def wanted(case, weights):
    return case.reference(weights, *(part.numpy() for part in batch()))


@every_case
@pytest.mark.parametrize("backend", ["eager", "auto"])
def test_loss_and_gradients_are_those_of_the_reference(case, backend):
    model = case.model.double()
    model.zero_grad()
    loss = model.training_loss(batch(), case.penalty, backend)
    loss.backward()
    truth, gradients = wanted(case, of(model))
    assert float(loss.detach()) == pytest.approx(truth, rel=1e-12)
    assert gradients.keys() == of(model).keys()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad, gradients[name], rtol=1e-9, atol=1e-12, err_msg=name)


@every_case
def test_gradients_of_the_reference_are_finite_differences(case):
    weights = of(case.model)
    _, gradients = wanted(case, weights)
    for name, gradient in gradients.items():
        found = differences(lambda w, name=name: wanted(case, weights | {name: w})[0], weights[name])
        np.testing.assert_allclose(gradient, found, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("make", [supervised, partitioned, curro])
def test_a_step_of_adam_is_that_of_the_reference(make):
    class Fixed:
        batch = B

        def batch_at(self, step, items=None):
            return tuple(part.float() for part in batch())

        def to(self, device):
            return self

        def fingerprint(self):
            return {}

        def ready(self, step):
            return 1

    model, truth = make()
    before = of(model)
    pf.Trainer(model, Fixed(), penalty=0.75, optimizer="adam", progress=False).run(1)
    _, gradients = wanted(Case("", model, truth), before)
    for name, weight in reference.adam_step(before, gradients).items():
        np.testing.assert_allclose(of(model)[name], weight, atol=2e-6, err_msg=name)
