"""The CPU kernels apart from their values: bits, threads, forks, long recordings."""

import multiprocessing
import os
import threading
import time

import pytest
import torch

from partae_fast.kernels._cpu import threads
from partae_fast.kernels.decode import cpu as decode_cpu
from partae_fast.kernels.encode import cpu as encode_cpu
from partae_fast.kernels.partitioned_loss import cpu as loss_cpu


def everything(batch=3, frames=530, bins=12, latents=20, taps=9, pool=16):
    """Return the outputs of all passes on one input."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, frames, bins, generator=generator)
    w_enc = torch.randn(taps, bins, latents, generator=generator)
    w_dec = torch.randn(taps, latents, bins, generator=generator)
    mean, std = x.mean((0, 1)), x.std((0, 1))
    values, positions = encode_cpu.encode(x, w_enc, pool, mean, std)
    r = decode_cpu.decode(values, positions, w_dec, frames)
    noise_only, foreground = torch.ones(batch), (torch.arange(latents) > 4).float()
    loss, grad_r, penalty = loss_cpu.partitioned_loss(r, x, values, noise_only, foreground, 0.75)
    grad_values, grad_w_dec = decode_cpu.decode_backward(grad_r, values, positions, w_dec, True, True)
    grads = encode_cpu.encode_backward(grad_values + penalty, x, w_enc, values, positions, pool, mean, std, True, True)
    return [values, positions, r, loss, grad_r, penalty, grad_values, grad_w_dec, *grads]


def same_bits(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_bits_do_not_depend_on_the_number_of_threads(thread_count, count):
    thread_count(1)
    alone = everything()
    thread_count(count)
    assert same_bits(everything(), alone)


def test_twenty_runs_give_the_same_bits(thread_count):
    thread_count(4)
    first = everything()
    assert all(same_bits(everything(), first) for _ in range(20))


def test_an_item_does_not_depend_on_the_batch():
    x, w = torch.rand(5, 300, 8), torch.randn(9, 8, 6)
    together, _ = encode_cpu.encode(x, w, 16, None, None)
    for item in range(5):
        alone, _ = encode_cpu.encode(x[item : item + 1], w, 16, None, None)
        assert torch.equal(alone[0], together[item])


def test_a_long_recording_equals_its_pieces(thread_count):
    """With B = 1 work is cut in time, and a piece with a halo of full pool windows gives the same bits."""
    thread_count(3)
    x, w_enc, w_dec = torch.rand(1, 20_000, 6), torch.randn(9, 6, 5), torch.randn(9, 5, 6)
    values, positions = encode_cpu.encode(x, w_enc, 16, None, None)
    piece, _ = encode_cpu.encode(x[:, 8_000 - 16 : 12_000 + 16], w_enc, 16, None, None)
    assert torch.equal(piece[:, 1:-1], values[:, 500:750])
    full = decode_cpu.decode(values, positions, w_dec, 20_000)
    part = decode_cpu.decode(values[:, 499:751], positions[:, 499:751] - 499 * 16, w_dec, 252 * 16)
    assert torch.equal(part[:, 16:-16], full[:, 8_000:12_000])


def test_callers_in_several_threads_do_not_disturb_each_other(thread_count):
    thread_count(2)
    expected, wrong = everything(), []

    def call():
        for _ in range(5):
            if not same_bits(everything(), expected):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_kernels_release_the_gil():
    x, w = torch.rand(1, 60_000, 32), torch.randn(9, 32, 32)
    encode_cpu.encode(x[:, :100], w, 16, None, None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    done, ticks = threading.Event(), 0

    def work():
        for _ in range(5):
            encode_cpu.encode(x, w, 16, None, None)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not done.is_set():  # a thread that holds the GIL would let this loop run a few times at most
        ticks += 1
        time.sleep(0.0002)
    worker.join()
    torch.set_num_threads(before)
    assert ticks > 20


def _child(queue):
    queue.put([t.sum().item() for t in everything()])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_works_after_a_fork(thread_count):
    thread_count(2)
    expected = [t.sum().item() for t in everything()]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(timeout=60)
    assert child.exitcode == 0


def test_threads_end_when_they_are_stopped_and_start_again(thread_count):
    """A thread that returns from a kernel during interpreter shutdown aborts the process."""

    def alive():
        return [thread for thread in threading.enumerate() if thread.name == "partae"]

    thread_count(3)
    for _ in range(2):
        everything()
        assert len(alive()) >= 2
        threads._workers.stop()
        assert not alive()
