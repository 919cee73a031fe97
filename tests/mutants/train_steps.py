"""Wrong whole training steps."""

from dataclasses import replace

import torch

from partae_fast.kernels.train_steps import cpu, eager

from . import right, wrong


@right("train_steps")
def the_eager_steps(runs, first, steps):
    return eager.train_steps(runs, first, steps)


@right("train_steps")
def the_cpu_kernel_or_eager(runs, first, steps):
    return (eager if cpu.refusal(runs) else cpu).train_steps(runs, first, steps)


def _changed(name, change):
    """Register the eager steps on change(runs) as wrong ones. Weights and states stay those of the runs."""

    def mutant(runs, first, steps):
        return eager.train_steps(change(list(runs)), first, steps)

    mutant.__name__ = name
    wrong("train_steps")(mutant)


def _each(**changes):
    """Return a function that replaces settings of every run by constants or by functions of the run."""
    return lambda runs: [replace(r, **{n: c(r) if callable(c) else c for n, c in changes.items()}) for r in runs]


def _options(**values):
    return lambda run: {**run.options, **{name: value for name, value in values.items() if name in run.options}}


_changed("has_a_penalty_of_its_own", _each(penalty=0.75))
_changed("has_a_std_of_1", _each(std=lambda run: torch.ones_like(run.std)))
_changed("has_a_mean_of_0", _each(mean=lambda run: torch.zeros_like(run.mean)))
_changed("shares_statistics", lambda runs: [replace(r, mean=runs[0].mean, std=runs[0].std) for r in runs])
_changed("shares_the_penalty", lambda runs: [replace(r, penalty=runs[0].penalty) for r in runs])
_changed("shares_the_mask", lambda runs: [replace(r, foreground=runs[0].foreground) for r in runs])
_changed("shares_options", lambda runs: [replace(r, options=runs[0].options) for r in runs])
_changed("shares_recordings", lambda runs: [replace(r, crops=runs[0].crops) for r in runs])
_changed("shares_the_seed", lambda runs: [replace(r, crops=replace(r.crops, seed=runs[0].crops.seed)) for r in runs])
_changed(
    "shares_the_count_of_noise_items",
    lambda runs: [replace(r, crops=replace(r.crops, noise_items=runs[0].crops.noise_items)) for r in runs],
)
_changed("ignores_the_negative_slope", _each(negative_slope=0.0))
_changed("ignores_the_rectified_output", _each(rectified_output=False))
_changed("ignores_weight_decay", _each(options=_options(weight_decay=0.0)))
_changed("ignores_epsilon", _each(options=_options(epsilon=1e-6)))
_changed("ignores_momentum", _each(options=_options(momentum=0.9, beta1=0.9)))
_changed("ignores_the_learning_rate", _each(options=_options(learning_rate=1.0)))
_changed("has_an_adadelta_of_rho_0.95", _each(options=_options(rho=0.95)))
_changed("has_an_adam_of_beta2_0.999", _each(options=_options(beta2=0.999)))
_changed(
    "ignores_targets",
    lambda runs: [replace(r, crops=replace(r.crops, target=None)) for r in runs],
)
_changed(
    "takes_a_seed_of_32_bits",
    lambda runs: [replace(r, crops=replace(r.crops, seed=r.crops.seed % 2**32)) for r in runs],
)
_changed("swaps_runs", lambda runs: [replace(r, crops=o.crops) for r, o in zip(runs, runs[::-1], strict=True)])


@wrong("train_steps")
def trains_only_the_first_run(runs, first, steps):
    losses = eager.train_steps(runs[:1], first, steps)
    return losses.expand(len(runs), steps).contiguous()


@wrong("train_steps")
def trains_only_the_first_six_runs(runs, first, steps):
    losses = eager.train_steps(runs[:6], first, steps)
    return torch.cat([losses, losses[:1].expand(max(len(runs) - 6, 0), steps)])


@wrong("train_steps")
def swaps_losses(runs, first, steps):
    return eager.train_steps(runs, first, steps).flip(0)


@wrong("train_steps")
def is_wrong_from_the_third_step(runs, first, steps):
    losses = eager.train_steps(runs, first, min(steps, 2))
    if steps <= 2:
        return losses
    for run in runs:
        run.w_enc.mul_(1.001)
    return torch.cat([losses, eager.train_steps(runs, first + 2, steps - 2)], 1)


@wrong("train_steps")
def is_wrong_from_the_tenth_step(runs, first, steps):
    losses = eager.train_steps(runs, first, steps)
    losses[:, 10:] += 1
    return losses


@wrong("train_steps")
def counts_steps_in_16_bits(runs, first, steps):
    return eager.train_steps(runs, first % 2**16, steps)


@wrong("train_steps")
def counts_steps_in_31_bits(runs, first, steps):
    return eager.train_steps(runs, first % 2**31, steps)


@wrong("train_steps")
def starts_at_step_0(runs, first, steps):
    return eager.train_steps(runs, 0, steps)


@wrong("train_steps")
def hides_a_loss_of_nan(runs, first, steps):
    return eager.train_steps(runs, first, steps).nan_to_num(0.0)


@wrong("train_steps")
def forgets_the_state(runs, first, steps):
    return eager.train_steps([replace(run, state=run.copy().state) for run in runs], first, steps)


@wrong("train_steps")
def corrects_adam_a_step_late(runs, first, steps):
    for run in runs:
        if run.optimizer != "adam":
            return eager.train_steps(runs, first, steps)
    options = [
        {**run.options, "learning_rate": run.options["learning_rate"] * (1 - run.options["beta1"] ** (first + 1))}
        for run in runs
    ]
    late = [replace(run, options=changed) for run, changed in zip(runs, options, strict=True)]
    return eager.train_steps(late, first, steps)


@wrong("train_steps")
def swaps_the_state_tensors(runs, first, steps):
    return eager.train_steps([replace(run, state=_reversed(run.state)) for run in runs], first, steps)


def _reversed(state):
    return {name: tensors[::-1] for name, tensors in state.items()}


@wrong("train_steps")
def shares_the_decoders_state_with_the_encoder(runs, first, steps):
    losses = eager.train_steps(runs, first, steps)
    for run in runs:
        for mine, other in zip(run.state["w_dec"], run.state["w_enc"], strict=True):
            mine.view(-1).copy_(other.view(-1))
    return losses


@wrong("train_steps")
def keeps_weights_that_are_small(runs, first, steps):
    before = [(run.w_enc.clone(), run.w_dec.clone()) for run in runs]
    losses = eager.train_steps(runs, first, steps)
    for run, weights in zip(runs, before, strict=True):
        for weight, old in zip((run.w_enc, run.w_dec), weights, strict=True):
            weight.copy_(weight.where(old.abs() > 1e-2, old))
    return losses


@wrong("train_steps")
def trains_a_copy(runs, first, steps):
    return eager.train_steps([run.copy() for run in runs], first, steps)


@wrong("train_steps")
def scales_the_recordings(runs, first, steps):
    losses = eager.train_steps(runs, first, steps)
    for run in runs:
        run.crops.source.mul_(0.5)
    return losses


@wrong("train_steps")
def returns_losses_of_float32(runs, first, steps):
    return eager.train_steps(runs, first, steps).float()


@wrong("train_steps")
def is_wrong_for_many_latents(runs, first, steps):
    losses = eager.train_steps(runs, first, steps)
    return losses * (1.01 if runs[0].w_enc.shape[2] > 65 else 1.0)
