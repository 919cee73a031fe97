"""Optimizers: torch.optim's steps by partae's names, and one state for both ways to train."""

import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.kernels.train_steps import fresh_state
from partae_fast.training.optimizers import OPTIMIZERS, Optimizer
from partae_fast.training.trainer import Trainer, launch

PEERS = {
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.05, rho=0.9, eps=0.3, weight_decay=0.4),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.3),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.7, weight_decay=2.0),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, weight_decay=3.0, nesterov=True),
    "nadam": lambda p: torch.optim.NAdam(p, 0.03, (0.8, 0.9), 1e-3, weight_decay=0.2, momentum_decay=0.3),
    "clipped_sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.7, weight_decay=2.0),
}
OPTIONS = {
    "adadelta": {"learning_rate": 0.05, "rho": 0.9, "epsilon": 0.3, "weight_decay": 0.4},
    "adam": {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.3},
    "sgd": {"learning_rate": 0.01, "momentum": 0.7, "weight_decay": 2.0},
    "nesterov": {"learning_rate": 0.01, "momentum": 0.8, "weight_decay": 3.0},
    "nadam": {"learning_rate": 0.03, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.2},
    "clipped_sgd": {"learning_rate": 0.01, "momentum": 0.7, "weight_decay": 2.0, "clip": 0.6},
}
OPTIONS["nadam"]["momentum_decay"] = 0.3


def parameters():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.nn.Parameter(torch.randn(5, 3, generator=generator)) for name in ("a", "b")}


def set_gradients(parameters, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn(5, 3, generator=generator)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_torch_optim(name):
    ours, theirs = parameters(), list(parameters().values())
    optimizer, peer = Optimizer(name, ours, OPTIONS[name]), PEERS[name](theirs)
    for step in range(5):
        set_gradients(ours.values(), step)
        set_gradients(theirs, step)
        optimizer.step(step)
        peer.step()
        if name == "clipped_sgd":
            with torch.no_grad():
                for parameter in theirs:
                    parameter.clamp_(-0.6, 0.6)
    for parameter, other in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(parameter, other)


@pytest.mark.parametrize("name", ["adadelta", "nadam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_pass_steps_are_those_of_torch_optim(name, dtype):
    """For more weights than a unit of work, with gradients that are 0, small, large, NaN and not contiguous."""
    shape = (129, 131)  # 16,899 weights, more than the 16,384 of a unit
    start = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizer, peer = Optimizer(name, {"w": ours}, OPTIONS[name]), PEERS[name]([theirs])
    for step in range(4):
        gradient = torch.randn(*shape[::-1], dtype=dtype, generator=torch.Generator().manual_seed(step)).t()
        gradient[0], gradient[1], gradient[2], gradient[-1, -1] = 0, 1e-6, 1e6, torch.nan
        ours.grad, theirs.grad = gradient, gradient.clone()
        optimizer.step(step)
        peer.step()
    assert optimizer._optimizer is None, "torch.optim was used"
    # Each of the four steps rounds some ten times.
    torch.testing.assert_close(
        ours, theirs, rtol=40 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps, equal_nan=True
    )


@pytest.mark.parametrize("name", ["adadelta", "nadam"])
def test_threads_change_no_bit_of_one_pass_steps(name):
    start = torch.randn(700, 900, generator=torch.Generator().manual_seed(1))  # enough to share
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            parameter = torch.nn.Parameter(start.clone())
            optimizer = Optimizer(name, {"w": parameter}, OPTIONS[name])
            for step in range(2):
                parameter.grad = start * (step + 1)
                optimizer.step(step)
            results.append(parameter.detach())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("make", [lambda p: p.half(), lambda p: p.t()], ids=["half", "not contiguous"])
def test_other_parameters_are_stepped_by_torch_optim(make):
    parameter = torch.nn.Parameter(make(torch.ones(3, 4)))
    optimizer = Optimizer("adadelta", {"w": parameter}, {})
    parameter.grad = torch.ones_like(parameter)
    optimizer.step(0)
    assert optimizer._optimizer is not None and not torch.equal(parameter.detach(), torch.ones_like(parameter))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_and_step_number_are_enough_to_continue(name):
    """A new optimizer with a copy of the state takes the same steps, to the bit."""
    first = parameters()
    optimizer = Optimizer(name, first, OPTIONS[name])
    for step in range(4):
        set_gradients(first.values(), step)
        optimizer.step(step)
    second = {n: torch.nn.Parameter(p.detach().clone()) for n, p in first.items()}
    resumed = Optimizer(name, second, OPTIONS[name])
    for tensor, saved in zip(resumed.tensors().values(), optimizer.tensors().values(), strict=True):
        tensor.copy_(saved)
    for step in range(4, 8):
        for part, stepping in ((first, optimizer), (second, resumed)):
            set_gradients(part.values(), step)
            stepping.step(step)
    for parameter, other in zip(first.values(), second.values(), strict=True):
        assert torch.equal(parameter, other)


@pytest.mark.parametrize("name", ["adam", "nadam"])
def test_a_parameter_without_a_gradient_stays_and_its_steps_count(name):
    some = parameters()
    optimizer = Optimizer(name, some, OPTIONS[name])
    set_gradients(some.values(), 0)
    some["b"].grad, before = None, some["b"].detach().clone()
    optimizer.step(0)
    assert torch.equal(some["b"], before)
    resumed = Optimizer(name, {"b": torch.nn.Parameter(before.clone())}, OPTIONS[name])
    set_gradients([some["b"], *resumed.parameters.values()], 1)
    resumed.parameters["b"].grad = some["b"].grad.clone()
    optimizer.step(1)
    resumed.step(1)
    assert torch.equal(some["b"], resumed.parameters["b"])


@pytest.mark.parametrize("name", ["adadelta", "adam", "sgd", "nesterov"])
def test_launches_and_single_steps_share_the_state(name, make_model, make_sampler):
    """A run that alternates between both has the losses of a run of whole-step launches."""
    settings = {"optimizer": name, "backend": "eager"}
    mixed, whole = (Trainer(make_model(), make_sampler(), **settings) for _ in range(2))
    losses = []
    for start in (0, 4, 8):
        losses += launch([mixed], 2, "eager", "eager")[0].tolist()
        mixed.record_losses(_array(losses[-2:]))
        losses += [float(mixed._take_step(start + 2 + i)) for i in range(2)]
        mixed.record_losses(_array(losses[-2:]))
    torch.testing.assert_close(losses, whole.run(12).loss, rtol=1e-5, atol=0.0)


def _array(losses):
    return torch.tensor(losses, dtype=torch.float64).numpy()


def test_fresh_state_has_the_shape_of_a_launch(make_model):
    model = make_model()
    weights = {"w_enc": model.w_enc.detach(), "w_dec": model.w_dec.detach()}
    optimizer = Optimizer("adadelta", dict(model.named_parameters()), {})
    for name, tensors in fresh_state(**weights, optimizer="adadelta").items():
        assert [t.shape for t in optimizer.state[name]] == [t.shape for t in tensors]
        assert all(t.is_contiguous() for t in optimizer.state[name])


def test_a_learning_rate_changes_between_steps():
    some = parameters()
    optimizer = Optimizer("sgd", some, {"learning_rate": 0.1})
    set_gradients(some.values(), 0)
    optimizer.step(0)
    optimizer.learning_rate = 0.0
    before = some["a"].detach().clone()
    optimizer.step(1)
    assert torch.equal(some["a"], before) and optimizer.options["learning_rate"] == 0.0


def test_few_weights_are_updated_in_one_thread(monkeypatch):
    """And the number of threads is restored, also if the step fails."""
    seen = []

    def record(self):
        seen.append(torch.get_num_threads())
        raise RuntimeError("no step")

    some = parameters()
    optimizer = Optimizer("sgd", some, {})
    set_gradients(some.values(), 0)
    optimizer.step(0)
    monkeypatch.setattr(type(optimizer._optimizer), "step", record)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="no step"):
            optimizer.step(1)
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "lbfgs",
            {},
            "optimizer 'lbfgs' is not known; choose one of adadelta, adam, sgd, nesterov, nadam",
        ),
        ("adam", {"rho": 0.9}, "adam has no option 'rho'; it has learning_rate, beta1, beta2, epsilon, weight_decay"),
        ("sgd", {"weight_decay": -1.0}, "weight_decay is -1.0; it must be 0 or more"),
        ("adam", {"beta1": 1.0}, "beta1 is 1.0; it must be from 0 up to, not including, 1"),
        ("nesterov", {"momentum": -0.5}, "momentum is -0.5; it must be 0 or more"),
        ("clipped_sgd", {"clip": 0.0}, "clip is 0.0; it must be above 0"),
    ],
)
def test_unknown_names_and_values_out_of_range_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        Optimizer(name, parameters(), options)
