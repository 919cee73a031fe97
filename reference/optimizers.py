"""One step of AdaDelta, Adam, SGD with momentum and Nesterov's SGD, in the forms that PyTorch has.

AdaDelta is Zeiler 2012, algorithm 1; Adam Kingma & Ba 2015, algorithm 1; momentum Polyak 1964 and Nesterov's Sutskever
et al. 2013, both with the learning rate outside the velocity. Each function takes a parameter, its gradient, a state
(None before the first step) and the step's number, from 0, and returns the new parameter and the new state.
"""
# weight_decay * parameter is added to the gradient first, which is that of weight_decay / 2 times the sum of squares
# (L2). Defaults are PyTorch's except for SGD and AdaDelta's rho, 0.95 as in Zeiler's paper and in the framework that
# Stowell & Turner used.

import numpy as np

Array = np.ndarray
State = dict[str, Array]


def adadelta(
    parameter: Array,
    gradient: Array,
    state: State | None,
    step: int,
    learning_rate: float = 1.0,
    rho: float = 0.95,
    epsilon: float = 1e-6,
    weight_decay: float = 0.0,
) -> tuple[Array, State]:
    """E[g^2] <- rho E[g^2] + (1 - rho) g^2;  dx = RMS[dx] / RMS[g] g;  E[dx^2] likewise;  x <- x - rate dx.

    RMS[a] = sqrt(E[a^2] + epsilon); RMS[dx] is the one before this step.
    """
    state = state or {"square": np.zeros_like(parameter), "delta": np.zeros_like(parameter)}
    gradient = gradient + weight_decay * parameter
    square = rho * state["square"] + (1.0 - rho) * gradient**2
    change = np.sqrt(state["delta"] + epsilon) / np.sqrt(square + epsilon) * gradient
    delta = rho * state["delta"] + (1.0 - rho) * change**2
    return parameter - learning_rate * change, {"square": square, "delta": delta}


def adam(
    parameter: Array,
    gradient: Array,
    state: State | None,
    step: int,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Array, State]:
    """m, v: running means of g and g^2;  x <- x - rate m^ / (sqrt(v^) + epsilon).

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) with t = step + 1.
    """
    state = state or {"mean": np.zeros_like(parameter), "square": np.zeros_like(parameter)}
    gradient = gradient + weight_decay * parameter
    mean = beta1 * state["mean"] + (1.0 - beta1) * gradient
    square = beta2 * state["square"] + (1.0 - beta2) * gradient**2
    corrected, scale = mean / (1.0 - beta1 ** (step + 1)), np.sqrt(square / (1.0 - beta2 ** (step + 1)))
    new = parameter - learning_rate * corrected / (scale + epsilon)
    return new, {"mean": mean, "square": square}


def sgd(
    parameter: Array,
    gradient: Array,
    state: State | None,
    step: int,
    learning_rate: float = 1e-5,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> tuple[Array, State]:
    """v <- momentum v + g;  x <- x - rate v."""
    velocity = (momentum * state["velocity"] if state else 0.0) + gradient + weight_decay * parameter
    return parameter - learning_rate * velocity, {"velocity": velocity}


def nesterov(
    parameter: Array,
    gradient: Array,
    state: State | None,
    step: int,
    learning_rate: float = 1e-5,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> tuple[Array, State]:
    """v <- momentum v + g;  x <- x - rate (g + momentum v)."""
    gradient = gradient + weight_decay * parameter
    velocity = (momentum * state["velocity"] if state else 0.0) + gradient
    return parameter - learning_rate * (gradient + momentum * velocity), {"velocity": velocity}


OPTIMIZERS = {
    "adadelta": adadelta,
    "adam": adam,
    "sgd": sgd,
    "nesterov": nesterov,
}
