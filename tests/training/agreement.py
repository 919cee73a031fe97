"""How far training on a back-end strays from the float64 reference.

python -m tests.training.agreement BACKEND STEPS    prints both measures as JSON (for a process of its own,
                                                    where TRITON_INTERPRET=1 is set before Triton is imported)
"""

import json
import sys

import numpy as np
import torch

from partae_fast.kernels import implementation
from partae_fast.reference import encode as reference_encode
from partae_fast.reference import sampler as reference_sampler
from partae_fast.reference import training as reference_training
from partae_fast.training.trainer import Trainer

from .conftest import BATCH, FRAMES, _make_model, _make_sampler, _material

PENALTY, NOISE_ONLY = 0.75, 0.25
OPTIONS = {"adadelta": {"lr": 1.0, "rho": 0.95, "eps": 1e-6}, "adam": {"lr": 1e-3}}


def reference_setting(optimizer="adadelta"):
    model = _make_model()
    return reference_training.Setting(model.foreground.double().numpy(), model.pool, PENALTY, optimizer)


def start(seed=0):
    """The weights that the library starts from, in float64."""
    model = _make_model(seed)
    return {name: getattr(model, name).detach().double().numpy() for name in ("w_enc", "w_dec")}


def reference_losses(steps, seed=0, optimizer="adadelta"):
    signal, noise = _material(seed)
    _, losses = reference_training.train(
        start(seed), signal, noise, reference_setting(optimizer), steps, FRAMES, BATCH, NOISE_ONLY, seed
    )
    return np.array(losses)


def losses(backend, steps, seed=0, optimizer="adadelta"):
    sampler = _make_sampler(seed, noise_only=NOISE_ONLY)
    trainer = Trainer(_make_model(seed), sampler, penalty=PENALTY, optimizer=optimizer, backend=backend, progress=False)
    return np.array(trainer.run(steps).loss)


def free_running(backend, steps=10, optimizer="adadelta"):
    """The largest relative difference of a loss over a run of its own."""
    truth = reference_losses(steps, optimizer=optimizer)
    return float(np.max(np.abs(losses(backend, steps, optimizer=optimizer) - truth) / truth))


def teacher_forced(backend, steps=200, optimizer="adadelta"):
    """The largest relative error of loss and of update over `steps` steps, each begun from the reference's state.

    Gradients are taken at the reference's positions, so that a near-tie that rounding decides is no difference.
    """
    signal, noise = _material()
    mean, std = reference_sampler.statistics(signal, FRAMES)
    setting, learner = reference_setting(optimizer), reference_training.Learner(start())
    worst_loss = worst_update = 0.0
    for step in range(steps):
        x, y = reference_sampler.batch_at(signal, noise, FRAMES, BATCH, NOISE_ONLY, 0, step)
        following, truth = reference_training.train_step(learner, x, y, mean, std, setting)
        loss, gradients = loss_and_gradients(backend, learner.weights, x, y, mean, std, setting)
        worst_loss = max(worst_loss, abs(loss - truth) / truth)
        optimiser = reference_training.OPTIMISERS[optimizer]
        for name, weight in learner.weights.items():
            updated, _ = optimiser(weight, gradients[name], learner.state.get(name))
            wanted = following.weights[name] - weight
            worst_update = max(worst_update, np.linalg.norm(updated - weight - wanted) / np.linalg.norm(wanted))
        learner = following
    return float(worst_loss), float(worst_update)


def loss_and_gradients(backend, weights, x, y, mean, std, setting):
    """One step's loss and gradients by the kernels of a back-end, in float32, at the reference's positions."""

    def tensor(array):
        return torch.tensor(np.asarray(array), dtype=torch.float32)

    encode, decode, loss_op = (implementation(op, backend) for op in ("encode", "decode", "partitioned_loss"))
    _, truth = reference_encode.encode(x, weights["w_enc"], setting.pool, mean, std)
    w_enc, w_dec, x32, y32 = (tensor(a) for a in (weights["w_enc"], weights["w_dec"], x, y))
    mean32, std32, foreground = tensor(mean), tensor(std), tensor(setting.foreground)
    positions = torch.tensor(truth)
    values, own = encode.encode(x32, w_enc, setting.pool, mean32, std32)
    assert (own == positions).float().mean() > 0.99
    r = decode.decode(values, positions, w_dec, x.shape[1])
    loss, grad_r, grad_penalty = loss_op.partitioned_loss(r, x32, values, y32, foreground, setting.penalty)
    grad_values, grad_w_dec = decode.decode_backward(grad_r, values, positions, w_dec, True, True)
    _, grad_w_enc = encode.encode_backward(
        grad_values + grad_penalty, x32, w_enc, values, positions, setting.pool, mean32, std32, False, True
    )
    return float(loss), {"w_enc": grad_w_enc.double().numpy(), "w_dec": grad_w_dec.double().numpy()}


if __name__ == "__main__":
    backend, steps = sys.argv[1], int(sys.argv[2])
    loss, update = teacher_forced(backend, steps)
    print(json.dumps({"loss": loss, "update": update, "free": free_running(backend)}))
