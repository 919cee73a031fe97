"""One step of AdaDelta (Zeiler 2012, algorithm 1), of Adam (Kingma & Ba 2015, algorithm 1) and of SGD with momentum
(Polyak 1964, in the form that PyTorch has: the learning rate is outside the velocity), plain or Nesterov's (Sutskever
et al. 2013, likewise); of Nesterov Adam (Dozat 2016, with the momentum's schedule that PyTorch and Keras have); and of
SGD whose weights are then held in an interval.

Each takes a parameter, its gradient, a state and the number of the step, and returns the new parameter and the new
state; None is the state before the first step, whose number is 0. weight_decay * parameter is added to the gradient
first, which is that of weight_decay / 2 times the sum of squares (L2). Defaults are those of PyTorch but for AdaDelta's
rho, 0.95 as in Zeiler's paper and in the framework that Stowell & Turner used, and for SGD.
"""

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


def nadam(
    parameter: Array,
    gradient: Array,
    state: State | None,
    step: int,
    learning_rate: float = 2e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
) -> tuple[Array, State]:
    """m, v as of Adam;  x <- x - rate (b(t+1) m / (1 - P(t+1)) + (1 - b(t)) g / (1 - P(t))) / (sqrt(v^) + epsilon).

    b(t) = beta1 (1 - 0.96^(t momentum_decay) / 2), t = step + 1, and P(t) is the product of b(1) to b(t).
    """
    state = state or {"mean": np.zeros_like(parameter), "square": np.zeros_like(parameter)}
    gradient = gradient + weight_decay * parameter
    mean = beta1 * state["mean"] + (1.0 - beta1) * gradient
    square = beta2 * state["square"] + (1.0 - beta2) * gradient**2
    schedule = beta1 * (1.0 - 0.5 * 0.96 ** (np.arange(1, step + 3) * momentum_decay))
    ahead = schedule[-1] * mean / (1.0 - np.prod(schedule))
    now = (1.0 - schedule[-2]) * gradient / (1.0 - np.prod(schedule[:-1]))
    scale = np.sqrt(square / (1.0 - beta2 ** (step + 1)))
    new = parameter - learning_rate * (ahead + now) / (scale + epsilon)
    return new, {"mean": mean, "square": square}


def clipped_sgd(
    parameter: Array,
    gradient: Array,
    state: State | None,
    step: int,
    learning_rate: float = 1e-5,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip: float = 1.0,
) -> tuple[Array, State]:
    """A step of sgd; then x <- min(max(x, -clip), clip) (Kim & Smaragdis 2015 hold weights in [-1, 1])."""
    new, state = sgd(parameter, gradient, state, step, learning_rate, momentum, weight_decay)
    return np.clip(new, -clip, clip), state


OPTIMISERS = {
    "adadelta": adadelta,
    "adam": adam,
    "sgd": sgd,
    "nesterov": nesterov,
    "nadam": nadam,
    "clipped_sgd": clipped_sgd,
}
