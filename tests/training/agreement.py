"""Measure the deviation of training on a back-end from the float64 reference."""

import functools
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
    """A model and its training data, for any seed."""

    denoising: bool = False  # the denoising autoencoder on corrupted input, instead of the partitioned one
    targets: bool = False  # separate targets: the signal less 0.3, and silence for noise
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
        """Return the signal, noise and corruption groups."""
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


# Large steps, because an update is computed as the difference of two weights, which float32 rounds.
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


def initial_weights(system, seed=0):
    """Return the library's initial weights, in float64."""
    model = system.model(seed)
    return {name: getattr(model, name).detach().double().numpy() for name in ("w_enc", "w_dec")}


def reference_losses(steps, seed=0, optimizer="adadelta", system=PARTITIONED):
    """Return the losses of the first steps of the reference, (steps,)."""
    signal, noise, corruption = system.groups(seed)
    learner = reference_training.beginner(initial_weights(system, seed))
    setting = reference_setting(system, optimizer)
    sampling = {"frames": FRAMES, "batch": BATCH, "noise_only": system.noise_only, "seed": seed}
    _, losses = reference_training.train_steps(
        learner, signal, noise, setting, steps, corruption=corruption, **sampling
    )
    return np.array(losses)


def losses(backend, steps, seed=0, optimizer="adadelta", system=PARTITIONED):
    """Return the losses of the first steps of a trainer, (steps,)."""
    settings = {"penalty": system.penalty, "optimizer": optimizer, "backend": backend}
    return np.array(Trainer(system.model(seed), system.sampler(seed), **settings).run(steps).loss)


def free_running(backend, steps=10, optimizer="adadelta", system=PARTITIONED):
    """Return the largest relative error of a loss if the back-end trains on its own, from the initial weights."""
    truth = reference_losses(steps, optimizer=optimizer, system=system)
    return float(np.max(np.abs(losses(backend, steps, optimizer=optimizer, system=system) - truth) / truth))


NEAR_TIE = 1e-6  # relative difference of the two largest activations of a window that float32 may not resolve
MOST_SKIPPED = 5  # largest number of steps, of 200, that may be skipped for a near-tie


def teacher_forced(backend, steps=200, optimizer="adadelta", system=PARTITIONED):
    """Return the largest relative errors of a loss and of an update if each step starts from the reference's state.

    Steps in which rounding may change the position of a maximum are not compared.
    """
    setting = reference_setting(system, optimizer, **LARGE_STEPS[optimizer])
    crops, statistics = system.sampler().crops, system.statistics()
    worst_loss = worst_update = skipped = 0
    for step, (learner, next_learner, truth, gap) in enumerate(reference_steps(steps, optimizer, system)):
        if gap < NEAR_TIE:
            skipped += 1
            continue
        loss, updates = one_step(backend, learner, crops, statistics, setting, step)
        worst_loss = max(worst_loss, abs(loss - truth) / truth)
        for name, weight in learner.weights.items():
            true_update = next_learner.weights[name] - weight
            error = np.linalg.norm(updates[name] - true_update) / np.linalg.norm(true_update)
            worst_update = max(worst_update, error)
    assert skipped <= MOST_SKIPPED
    return float(worst_loss), float(worst_update)


@functools.lru_cache(maxsize=1)  # the back-ends of one test follow each other
def reference_steps(steps, optimizer, system):
    """Return the reference's state before and after each step, the loss, and the smallest gap between activations."""
    signal, noise, corruption = system.groups()
    mean, std = system.statistics()
    setting = reference_setting(system, optimizer, **LARGE_STEPS[optimizer])
    learner, rows = reference_training.Learner(initial_weights(system)), []
    for step in range(steps):
        sampling = signal, noise, FRAMES, BATCH, system.noise_only, 0, step
        (x, y), target = reference_sampler.batch_at(*sampling, corruption), reference_sampler.target_at(*sampling)
        next_learner, truth = reference_training.train_step(learner, x, y, mean, std, setting, step, target=target)
        gap = smallest_gap(x, learner.weights["w_enc"], setting.pool, mean, std, system.negative_slope)
        rows.append((learner, next_learner, truth, gap))
        learner = next_learner
    return rows


def smallest_gap(x, w_enc, pool, mean, std, negative_slope):
    """Return the smallest difference of a window's two largest activations, relative to the largest of all."""
    activations, _ = reference_encode.encode(x, w_enc, 1, mean, std, negative_slope)
    windows = activations.reshape(len(x), -1, pool, w_enc.shape[2])
    second, first = np.moveaxis(np.sort(windows, axis=2)[:, :, -2:], 2, 0)
    return np.min((first - second)[(first > 0) | (negative_slope > 0)]) / activations.max()


def one_step(backend, learner, crops, statistics, setting, step):
    """Return the loss and the updates of one step on a back-end, in float32, from the reference's state."""

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
        crops=crops,
        mean=tensor(statistics[0]),
        std=tensor(statistics[1]),
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
    """Return the mean loss of the last steps over several seeds, for the reference and the CPU back-ends."""
    means = {"reference": np.mean([reference_losses(steps, seed, optimizer)[-last:] for seed in range(seeds)])}
    for backend in ("eager", "cpu"):
        means[backend] = np.mean([losses(backend, steps, seed, optimizer)[-last:] for seed in range(seeds)])
    return means
