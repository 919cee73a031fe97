"""Wrong steps of the optimisers."""

import torch

from partae_fast.kernels.optimiser import EVERY_RULE, cpu, eager

from . import right, wrong


def _of(rule, name, function, enter):
    """Enter function(step of the rule, weight, gradient, state, step, options) for a rule."""

    def mutant(weight, gradient, state, step, options):
        return function(getattr(eager, rule), weight, gradient, state, step, options)

    mutant.__name__ = name
    enter(rule)(mutant)


def _single(update, weight, gradient, state, step, options):
    if weight.dtype in (torch.float32, torch.float64):
        getattr(cpu, update.__name__)(weight, gradient, state, step, options)
    else:
        update(weight, gradient, state, step, options)


def _plain(update, weight, gradient, state, step, options):
    update(weight, gradient, state, step, options)


for _rule in EVERY_RULE:
    _of(_rule, "the_eager_rule", _plain, right)


def _ignoring(option, value):
    def function(update, weight, gradient, state, step, options):
        update(weight, gradient, state, step, {**options, option: value})

    return function


for _rule, _option, _value in (
    ("adadelta", "weight_decay", 0.0),
    ("adadelta", "epsilon", 1e-6),
    ("adadelta", "learning_rate", 1.0),
    ("adam", "beta1", 0.9),
    ("adam", "weight_decay", 0.0),
    ("sgd", "momentum", 0.9),
    ("nesterov", "weight_decay", 0.0),
    ("nadam", "momentum_decay", 4e-3),
    ("clipped_sgd", "clip", 1.0),
):
    _of(_rule, f"ignores_{_option}", _ignoring(_option, _value), wrong)


def _a_step_late(update, weight, gradient, state, step, options):
    update(weight, gradient, state, step + 1, options)


def _step_of_16_bits(update, weight, gradient, state, step, options):
    update(weight, gradient, state, step % 2**16, options)


def _keeps_its_state(update, weight, gradient, state, step, options):
    update(weight, gradient, tuple(part.clone() for part in state), step, options)


def _changes_the_gradient(update, weight, gradient, state, step, options):
    update(weight, gradient, state, step, options)
    gradient.zero_()


def _drops_nan(update, weight, gradient, state, step, options):
    update(weight, gradient.nan_to_num(0.0), state, step, options)


def _clips_gradients(update, weight, gradient, state, step, options):
    update(weight, gradient.clamp(-1e4, 1e4), state, step, options)


def _takes_a_contiguous_gradient(update, weight, gradient, state, step, options):
    update(weight, gradient if gradient.is_contiguous() else gradient.flip(0), state, step, options)


def _forgets_what_is_beyond_65536(update, weight, gradient, state, step, options):
    before = weight.clone()
    update(weight, gradient, state, step, options)
    weight.view(-1)[65536:] = before.view(-1)[65536:]


def _returns_the_weight(update, weight, gradient, state, step, options):
    update(weight, gradient, state, step, options)
    return weight


for _name, _rule, _function in (
    ("a_step_late", "adam", _a_step_late),
    ("step_of_16_bits", "nadam", _step_of_16_bits),
    ("keeps_its_state", "adadelta", _keeps_its_state),
    ("keeps_its_state", "sgd", _keeps_its_state),
    ("changes_the_gradient", "adam", _changes_the_gradient),
    ("drops_nan", "adadelta", _drops_nan),
    ("clips_gradients", "adam", _clips_gradients),
    ("clips_gradients", "sgd", _clips_gradients),
    ("takes_a_contiguous_gradient", "nesterov", _takes_a_contiguous_gradient),
    ("forgets_what_is_beyond_65536", "adadelta", _forgets_what_is_beyond_65536),
    ("returns_the_weight", "adam", _returns_the_weight),
):
    _of(_rule, _name, _function, wrong)
