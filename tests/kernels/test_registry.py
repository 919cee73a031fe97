"""With "auto", back-ends that cannot compile or launch are passed over."""

import logging
import threading
import time
from types import SimpleNamespace

import pytest
import torch

import partae_fast as pf
from partae_fast.kernels import registry
from partae_fast.kernels.registry import BackendFailed, BackendUnavailable


@pytest.fixture(autouse=True)
def fresh_registry():
    def clear():
        registry._failures.clear()
        registry._fastest.cache_clear()
        registry._warn_once.cache_clear()

    clear()
    yield
    clear()


@pytest.fixture
def broken_cpu(monkeypatch):
    """Return broken_cpu(op, error), after which the CPU kernels of the op raise; it returns the list of calls."""
    implementation = registry.implementation

    def break_it(op: str, error: Exception) -> list[str]:
        calls: list[str] = []

        def fail(name, *args):
            calls.append(name)
            raise error

        passes = {name: lambda *args, name=name: fail(name) for name in registry.OPS[op].passes}
        module = SimpleNamespace(**passes, refusal=lambda runs: None)
        monkeypatch.setattr(
            registry, "implementation", lambda o, b: module if (o, b) == (op, "cpu") else implementation(o, b)
        )
        return calls

    return break_it


def encode(backend="auto"):
    generator = torch.Generator().manual_seed(0)
    x, w_enc = torch.rand(1, 8, 2, generator=generator), torch.rand(3, 2, 2, generator=generator, requires_grad=True)
    values, positions = pf.encode(x, w_enc, 4, backend=backend)
    return values, positions, w_enc


def test_a_back_end_that_fails_is_passed_over_with_one_warning(broken_cpu, caplog):
    expected, _, _ = encode("eager")
    calls = broken_cpu("encode", BackendFailed("no CUDA headers; use backend='eager'"))
    with caplog.at_level(logging.WARNING, logger="partae_fast"):
        for _ in range(3):
            values, _, w_enc = encode()
            values.sum().backward()
    assert torch.equal(values, expected) and w_enc.grad is not None
    assert calls == ["encode"]  # neither again nor for the gradient
    (record,) = caplog.records
    assert record.getMessage().startswith("encode on cpu: back-end cpu is passed over: no CUDA headers")


def test_a_back_end_that_refuses_sizes_is_tried_again(broken_cpu, caplog):
    calls = broken_cpu("encode", BackendUnavailable("too large"))
    with caplog.at_level(logging.WARNING, logger="partae_fast"):
        encode(), encode()
    assert calls == ["encode", "encode"] and len(caplog.records) == 1


def test_a_back_end_asked_for_by_name_raises(broken_cpu):
    broken_cpu("encode", BackendFailed("no CUDA headers"))
    with pytest.raises(BackendFailed, match="no CUDA headers"):
        encode("cpu")
    encode()
    with pytest.raises(BackendFailed, match="no CUDA headers"):  # also after "auto" has passed it over
        encode("cpu")


def test_other_errors_are_not_hidden(broken_cpu):
    broken_cpu("encode", RuntimeError("an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        encode()


def test_if_all_fail_the_reasons_are_listed(monkeypatch):
    def fail(*args):
        raise BackendFailed("no compiler")

    monkeypatch.setattr(registry, "implementation", lambda op, backend: SimpleNamespace(encode=fail))
    with pytest.raises(
        BackendUnavailable, match=r"no back-end can run encode: .*not cpu: no compiler; not eager: no c"
    ):
        encode()


def test_threads_that_choose_at_the_same_time_log_it_once(monkeypatch):
    """`partae denoise` logged each op twice."""
    registry._log_once.cache_clear()
    messages, together = [], threading.Barrier(4)

    def slow(*arguments):
        messages.append(arguments)
        time.sleep(0.05)

    monkeypatch.setattr(registry.logger, "info", slow)

    def choose():
        together.wait()
        registry._fastest.cache_clear()
        registry.resolve("encode", "auto", torch.device("cpu"), torch.float32)

    threads = [threading.Thread(target=choose) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(messages) == 1
