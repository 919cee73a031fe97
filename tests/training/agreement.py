"""How far training on a back-end strays from the float64 reference.

`python -m tests.training.agreement BACKEND STEPS` prints the measures as JSON: for a process of its own, where
TRITON_INTERPRET=1 is set before Triton is imported.
"""

import json
import sys
from dataclasses import dataclass

import numpy as np
import torch

from partae_fast.kernels.train_steps import RULES, TrainingRun, fresh_state
from partae_fast.models import ConvDenoisingAutoencoder
from partae_fast.reference import encode as reference_encode
from partae_fast.reference import sampler as reference_sampler
from partae_fast.reference import train_steps as reference_training
from partae_fast.sampling.crops import CropSampler
from partae_fast.training.steps import train_steps
from partae_fast.training.trainer import Trainer

from .conftest import BATCH, BINS, FRAMES, _make_model, _material


@dataclass(frozen=True)
class System:
    """A model and what it is trained on, for every seed."""

    denoising: bool = False  # the plain autoencoder, on corrupted input; the partitioned one if not
    targets: bool = False  # of their own: less than the signal, and silence for noise
    negative_slope: float = 0.0
    rectified_output: bool = False

    @property
    def penalty(self):
        return 0.0 if self.denoising else 0.75

    @property
    def noise_only(self):
        return 0.0 if self.denoising else 0.25

    def model(self, seed=0):
        rectifiers = {"negative_slope": self.negative_slope, "rectified_output": self.rectified_output}
        if self.denoising:
            return ConvDenoisingAutoencoder(bins=BINS, latents=8, taps=3, pool=8, seed=seed, **rectifiers)
        return _make_model(seed, **rectifiers)

    def groups(self, seed=0):
        """Signal, noise and corruption groups."""
        signal, noise = _material(seed)
        if self.targets:
            signal = [[(r, np.maximum(r - 0.3, 0).astype(np.float32)) for r in group] for group in signal]
            noise = [[(r, np.zeros_like(r)) for r in group] for group in noise]
        return (signal, [], noise) if self.denoising else (signal, noise, [])

    def sampler(self, seed=0):
        signal, noise, corruption = self.groups(seed)
        return CropSampler(signal, noise, FRAMES, BATCH, self.noise_only, seed, corruption)

    def statistics(self, seed=0):
        signal, _, corruption = self.groups(seed)
        return reference_sampler.statistics(signal, FRAMES, corruption)


PARTITIONED, DENOISING = System(), System(denoising=True)
TARGETED = System(targets=True)
RECTIFIED = System(negative_slope=1 / 3, rectified_output=True)


# Steps that are large beside what float32 weights resolve: an update is found as the difference of two.
LARGE_STEPS = {
    "adadelta": {},
    "adam": {"learning_rate": 1e-2},
    "sgd": {"learning_rate": 5e-4},
    "nesterov": {"learning_rate": 5e-4},
}


def reference_setting(system, optimizer="adadelta", **options):
    model = system.model()
    foreground, rectifiers = model.foreground.double().numpy(), (system.negative_slope, system.rectified_output)
    return reference_training.Setting(foreground, model.pool, system.penalty, optimizer, options, *rectifiers)


def start(system, seed=0):
    """The weights that the library starts from, in float64."""
    model = system.model(seed)
    return {name: getattr(model, name).detach().double().numpy() for name in ("w_enc", "w_dec")}


def reference_losses(steps, seed=0, optimizer="adadelta", system=PARTITIONED):
    signal, noise, corruption = system.groups(seed)
    beginner, setting = reference_training.beginner(start(system, seed)), reference_setting(system, optimizer)
    drawn = {"frames": FRAMES, "batch": BATCH, "noise_only": system.noise_only, "seed": seed, "corruption": corruption}
    _, losses = reference_training.train_steps(beginner, signal, noise, setting, steps, **drawn)
    return np.array(losses)


def losses(backend, steps, seed=0, optimizer="adadelta", system=PARTITIONED):
    settings = {"penalty": system.penalty, "optimizer": optimizer, "backend": backend}
    return np.array(Trainer(system.model(seed), system.sampler(seed), **settings).run(steps).loss)


def free_running(backend, steps=10, optimizer="adadelta", system=PARTITIONED):
    """The largest relative difference of a loss over a run of its own."""
    truth = reference_losses(steps, optimizer=optimizer, system=system)
    return float(np.max(np.abs(losses(backend, steps, optimizer=optimizer, system=system) - truth) / truth))


NEAR = 1e-6  # the largest two of a window, relative to the largest of all, between which float32 may not tell
STEPS_SKIPPED = 5  # at most, of 200, for a near-tie


def teacher_forced(backend, steps=200, optimizer="adadelta", system=PARTITIONED):
    """The largest relative error of loss and of update over `steps` steps, each begun from the reference's state.

    A step in which rounding may decide an argmax is not compared.
    """
    signal, noise, corruption = system.groups()
    mean, std = system.statistics()
    setting = reference_setting(system, optimizer, **LARGE_STEPS[optimizer])
    learner = reference_training.Learner(start(system))
    worst_loss = worst_update = skipped = 0
    for step in range(steps):
        drawn = signal, noise, FRAMES, BATCH, system.noise_only, 0, step
        (x, y), target = reference_sampler.batch_at(*drawn, corruption), reference_sampler.target_at(*drawn)
        following, truth = reference_training.train_step(learner, x, y, mean, std, setting, step, target=target)
        if nearest_tie(x, learner.weights["w_enc"], setting.pool, mean, std, system.negative_slope) < NEAR:
            skipped += 1
        else:
            loss, updates = one_step(backend, learner, system, setting, step)
            worst_loss = max(worst_loss, abs(loss - truth) / truth)
            for name, weight in learner.weights.items():
                wanted = following.weights[name] - weight
                worst_update = max(worst_update, np.linalg.norm(updates[name] - wanted) / np.linalg.norm(wanted))
        learner = following
    assert skipped <= STEPS_SKIPPED
    return float(worst_loss), float(worst_update)


def nearest_tie(x, w_enc, pool, mean, std, negative_slope):
    """The least difference of a window's largest two activations, over the largest of all."""
    activations, _ = reference_encode.encode(x, w_enc, 1, mean, std, negative_slope)
    windows = activations.reshape(len(x), -1, pool, w_enc.shape[2])
    second, first = np.moveaxis(np.sort(windows, axis=2)[:, :, -2:], 2, 0)
    return np.min((first - second)[(first > 0) | (negative_slope > 0)]) / activations.max()


def one_step(backend, learner, system, setting, step):
    """One step of the op on a back-end, in float32, from the reference's state: loss and change of weights."""

    def tensor(array):
        return torch.tensor(np.asarray(array), dtype=torch.float32)

    weights = {name: tensor(weight) for name, weight in learner.weights.items()}
    state = fresh_state(**weights, optimizer=setting.optimizer)
    names = RULES[setting.optimizer].state
    if learner.state:
        state = {name: tuple(tensor(learner.state[name][part]) for part in names) for name in weights}
    run = TrainingRun(
        **{name: weight.clone() for name, weight in weights.items()},
        state=state,
        crops=system.sampler().crops,
        mean=tensor(system.statistics()[0]),
        std=tensor(system.statistics()[1]),
        foreground=tensor(setting.foreground),
        penalty=setting.penalty,
        pool=setting.pool,
        optimizer=setting.optimizer,
        options=RULES[setting.optimizer].options | setting.options,
        negative_slope=setting.negative_slope,
        rectified_output=setting.rectified_output,
    )
    loss = float(train_steps([run], step, 1, backend))
    return loss, {n: getattr(run, n).double().numpy() - weights[n].double().numpy() for n in weights}


def late_losses(optimizer, steps=1000, last=100, seeds=5):
    """The mean loss of the last steps over several seeds, by the reference and by back-ends on the CPU."""
    means = {"reference": np.mean([reference_losses(steps, seed, optimizer)[-last:] for seed in range(seeds)])}
    for backend in ("eager", "cpu"):
        means[backend] = np.mean([losses(backend, steps, seed, optimizer)[-last:] for seed in range(seeds)])
    return means


def main(backend, steps):
    loss, update = teacher_forced(backend, int(steps))
    return {"loss": loss, "update": update, "free": free_running(backend)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
