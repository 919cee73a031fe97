"""The optimizers of whole training steps: their state tensors, options, and settings of a step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """The names of an optimizer's state tensors, zeros before the first step, and its options with their defaults."""

    state: tuple[str, ...]
    options: dict[str, float]


# Formulae and sources are in `partae_fast.reference.optimizers`. AdaDelta's rho is that of Zeiler's paper and of the
# framework that Stowell & Turner used; the error is summed over frames and bins, so plain gradients are large.
_DECAY = {"weight_decay": 0.0}  # of every rule: weight_decay * weight is added to the gradient
RULES = {
    "adadelta": Rule(("square", "delta"), {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6, **_DECAY}),
    "adam": Rule(("mean", "square"), {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, **_DECAY}),
    "sgd": Rule(("velocity",), {"learning_rate": 1e-5, "momentum": 0.9, **_DECAY}),
    "nesterov": Rule(("velocity",), {"learning_rate": 1e-5, "momentum": 0.9, **_DECAY}),
}


def settings_at(rule: str, step: int, options: dict[str, float]) -> tuple[float, ...]:
    """Return a kernel's eight settings at step number `step`, counted from 0; 0 where a rule has no such setting.

    Learning rate (Adam's with its first correction), factors of the old value and of the new one in the first running
    mean, the same of the second, Adam's second correction, epsilon, weight decay.
    """
    rate, decay = options["learning_rate"], options["weight_decay"]
    if rule == "adadelta":
        rho = options["rho"]
        return rate, rho, 1 - rho, 0.0, 0.0, 0.0, options["epsilon"], decay
    if rule == "adam":
        beta1, beta2 = options["beta1"], options["beta2"]
        first, second = 1 / (1 - beta1 ** (step + 1)), 1 / (1 - beta2 ** (step + 1))
        return rate * first, beta1, 1 - beta1, beta2, 1 - beta2, second, options["epsilon"], decay
    return rate, options["momentum"], 0.0, 0.0, 0.0, 0.0, 0.0, decay
