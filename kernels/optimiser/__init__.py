"""One step of an optimiser on one weight, in place: what it keeps and the weight in one pass."""

import functools
from dataclasses import dataclass

PASSES = ("adadelta", "adam", "sgd", "nesterov", "nadam", "clipped_sgd")


@dataclass(frozen=True)
class Rule:
    """What an optimiser keeps for each weight, by name, zeros at first; and its settings with their defaults."""

    state: tuple[str, ...]
    options: dict[str, float]


# Formulae and sources are in `partae_fast.reference.optimisers`. AdaDelta's rho is that of Zeiler's paper and of the
# framework that Stowell & Turner used; the error is summed over frames and bins, so plain gradients are large.
_DECAY = {"weight_decay": 0.0}  # of every rule: this times the weight is added to its gradient
RULES = {  # those that whole steps in one launch (`kernels.train_steps`) have too
    "adadelta": Rule(("square", "delta"), {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6, **_DECAY}),
    "adam": Rule(("mean", "square"), {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, **_DECAY}),
    "sgd": Rule(("velocity",), {"learning_rate": 1e-5, "momentum": 0.9, **_DECAY}),
    "nesterov": Rule(("velocity",), {"learning_rate": 1e-5, "momentum": 0.9, **_DECAY}),
}

# Every rule: those, nadam, and sgd whose weights are then held in [-clip, clip].
EVERY_RULE = RULES | {
    "nadam": Rule(RULES["adam"].state, {**RULES["adam"].options, "learning_rate": 2e-3, "momentum_decay": 4e-3}),
    "clipped_sgd": Rule(RULES["sgd"].state, {**RULES["sgd"].options, "clip": 1.0}),
}


def settings_at(rule: str, step: int, options: dict[str, float]) -> tuple[float, ...]:
    """What a kernel is told at step number `step`, counted from 0, the same places for every rule.

    Learning rate (Adam's with its first correction), what is kept of and added to the first running mean, the same of
    the second, Adam's second correction, epsilon, weight decay; 0 where a rule has none. Of a rule that is not in RULES
    then one more: of nadam the rate of the gradient (the first is that of its running mean), of clipped_sgd the bound.
    """
    rate, decay = options["learning_rate"], options["weight_decay"]
    if rule == "adadelta":
        rho = options["rho"]
        return rate, rho, 1 - rho, 0.0, 0.0, 0.0, options["epsilon"], decay
    if rule in ("adam", "nadam"):
        beta1, beta2 = options["beta1"], options["beta2"]
        first, second = 1 / (1 - beta1 ** (step + 1)), 1 / (1 - beta2 ** (step + 1))
        common = beta1, 1 - beta1, beta2, 1 - beta2, second, options["epsilon"], decay
        if rule == "adam":
            return rate * first, *common
        of_mean, of_gradient = _nadam_shares(beta1, options["momentum_decay"], step)
        return rate * of_mean, *common, rate * of_gradient
    settings = rate, options["momentum"], 0.0, 0.0, 0.0, 0.0, 0.0, decay
    return (*settings, options["clip"]) if rule == "clipped_sgd" else settings


@functools.lru_cache(maxsize=16)  # all weights of a model ask for one step
def _nadam_shares(beta1: float, decay: float, step: int) -> tuple[float, float]:
    """What nadam takes of the running mean and of the gradient at a step, corrections included."""
    product, momentum = 1.0, 0.0
    for t in range(1, step + 2):
        momentum = beta1 * (1 - 0.5 * 0.96 ** (t * decay))
        product *= momentum
        if product < 2**-64:  # no further factor changes 1 - product
            momentum = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * decay))
            break
    following = beta1 * (1 - 0.5 * 0.96 ** ((step + 2) * decay))
    return following / (1 - product * following), (1 - momentum) / (1 - product)
