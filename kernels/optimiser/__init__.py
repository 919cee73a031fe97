"""One step of an optimiser on one weight, in place: what it keeps and the weight in one pass."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """What an optimiser keeps for each weight, by name, zeros at first; and its settings with their defaults."""

    state: tuple[str, ...]
    options: dict[str, float]


# Formulae and sources are in `partae_fast.reference.optimisers`. AdaDelta's rho is that of Zeiler's paper and of the
# framework that Stowell & Turner used; the error is summed over frames and bins, so plain gradients are large.
RULES = {
    "adadelta": Rule(("square", "delta"), {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6}),
    "adam": Rule(("mean", "square"), {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
    "sgd": Rule(("velocity",), {"learning_rate": 1e-5, "momentum": 0.9}),
}
