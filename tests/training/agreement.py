"""How far training on a back-end strays from the float64 reference.

python -m tests.training.agreement BACKEND STEPS    prints both measures as JSON (for a process of its own,
                                                    where TRITON_INTERPRET=1 is set before Triton is imported)
"""

import json
import sys

import numpy as np
import torch

from partae_fast.kernels.optimiser import RULES
from partae_fast.kernels.train_steps import Run, fresh_state
from partae_fast.reference import encode as reference_encode
from partae_fast.reference import sampler as reference_sampler
from partae_fast.reference import train_steps as reference_training
from partae_fast.training.steps import train_steps
from partae_fast.training.trainer import Trainer

from .conftest import BATCH, FRAMES, _make_model, _make_sampler, _material

PENALTY, NOISE_ONLY = 0.75, 0.25


# Steps that are large beside what float32 weights resolve: an update is found as the difference of two.
LARGE_STEPS = {"adadelta": {}, "adam": {"learning_rate": 1e-2}, "sgd": {"learning_rate": 5e-4}}


def reference_setting(optimizer="adadelta", **options):
    model = _make_model()
    return reference_training.Setting(model.foreground.double().numpy(), model.pool, PENALTY, optimizer, options)


def start(seed=0):
    """The weights that the library starts from, in float64."""
    model = _make_model(seed)
    return {name: getattr(model, name).detach().double().numpy() for name in ("w_enc", "w_dec")}


def reference_losses(steps, seed=0, optimizer="adadelta"):
    signal, noise = _material(seed)
    beginner, setting = reference_training.beginner(start(seed)), reference_setting(optimizer)
    _, losses = reference_training.train_steps(beginner, signal, noise, setting, steps, FRAMES, BATCH, NOISE_ONLY, seed)
    return np.array(losses)


def losses(backend, steps, seed=0, optimizer="adadelta"):
    sampler = _make_sampler(seed, noise_only=NOISE_ONLY)
    trainer = Trainer(_make_model(seed), sampler, penalty=PENALTY, optimizer=optimizer, backend=backend, progress=False)
    return np.array(trainer.run(steps).loss)


def free_running(backend, steps=10, optimizer="adadelta"):
    """The largest relative difference of a loss over a run of its own."""
    truth = reference_losses(steps, optimizer=optimizer)
    return float(np.max(np.abs(losses(backend, steps, optimizer=optimizer) - truth) / truth))


NEAR = 1e-6  # the largest two of a window, relative to the largest of all, between which float32 may not tell
STEPS_SKIPPED = 5  # at most, of 200, for a near-tie


def teacher_forced(backend, steps=200, optimizer="adadelta"):
    """The largest relative error of loss and of update over `steps` steps, each begun from the reference's state.

    A step in which rounding may decide an argmax is not compared.
    """
    signal, noise = _material()
    mean, std = reference_sampler.statistics(signal, FRAMES)
    setting = reference_setting(optimizer, **LARGE_STEPS[optimizer])
    learner = reference_training.Learner(start())
    worst_loss = worst_update = skipped = 0
    for step in range(steps):
        x, y = reference_sampler.batch_at(signal, noise, FRAMES, BATCH, NOISE_ONLY, 0, step)
        following, truth = reference_training.train_step(learner, x, y, mean, std, setting, step)
        if nearest_tie(x, learner.weights["w_enc"], setting.pool, mean, std) < NEAR:
            skipped += 1
        else:
            loss, updates = one_step(backend, learner, mean, std, setting, step)
            worst_loss = max(worst_loss, abs(loss - truth) / truth)
            for name, weight in learner.weights.items():
                wanted = following.weights[name] - weight
                worst_update = max(worst_update, np.linalg.norm(updates[name] - wanted) / np.linalg.norm(wanted))
        learner = following
    assert skipped <= STEPS_SKIPPED
    return float(worst_loss), float(worst_update)


def nearest_tie(x, w_enc, pool, mean, std):
    """The least difference of a window's largest two activations, over the largest of all."""
    activations, _ = reference_encode.encode(x, w_enc, 1, mean, std)
    windows = activations.reshape(len(x), -1, pool, w_enc.shape[2])
    second, first = np.moveaxis(np.sort(windows, axis=2)[:, :, -2:], 2, 0)
    return np.min((first - second)[first > 0]) / activations.max()


def one_step(backend, learner, mean, std, setting, step):
    """One step of the op on a back-end, in float32, from the reference's state: loss and change of weights."""

    def tensor(array):
        return torch.tensor(np.asarray(array), dtype=torch.float32)

    weights = {name: tensor(weight) for name, weight in learner.weights.items()}
    state = fresh_state(**weights, optimizer=setting.optimizer)
    names = RULES[setting.optimizer].state
    if learner.state:
        state = {name: tuple(tensor(learner.state[name][part]) for part in names) for name in weights}
    run = Run(
        **{name: weight.clone() for name, weight in weights.items()},
        state=state,
        crops=_make_sampler(noise_only=NOISE_ONLY).crops,
        mean=tensor(mean),
        std=tensor(std),
        foreground=tensor(setting.foreground),
        penalty=setting.penalty,
        pool=setting.pool,
        optimizer=setting.optimizer,
        options=RULES[setting.optimizer].options | setting.options,
    )
    loss = float(train_steps([run], step, 1, backend))
    return loss, {n: getattr(run, n).double().numpy() - weights[n].double().numpy() for n in weights}


if __name__ == "__main__":
    backend, steps = sys.argv[1], int(sys.argv[2])
    loss, update = teacher_forced(backend, steps)
    print(json.dumps({"loss": loss, "update": update, "free": free_running(backend)}))
