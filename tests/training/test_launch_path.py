"""From Trainer.run through CuPy and the CUDA driver to the persistent kernel and back, on a GPU that does not exist."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.kernels import BackendUnavailable
from partae_fast.kernels.registry import BackendFailed
from partae_fast.kernels.tf32 import tf32
from partae_fast.kernels.train_steps import cuda
from partae_fast.reference import train_steps as reference
from partae_fast.training.trainer import launch
from tests.kernels._cuda.pretend_gpu import CompileException, PretendGpu, pretended

OUT_OF_MEMORY, INVALID_VALUE, ILLEGAL_ADDRESS, OUT_OF_RESOURCES = 2, 1, 700, 701
LAUNCH_FAILED, TOO_LARGE, INVALID_CLUSTER_SIZE = 719, 720, 912
RATE = 0.3
# Frames and batch of the sampler, then bins, latents, taps and pool of the model.
SMALL = (32, 2, 8, 4, 3, 4)  # a block for each item
LARGE = (32, 1, 16, 32, 5, 8)  # a cluster of two blocks


@pytest.fixture
def gpu(monkeypatch) -> Iterator[PretendGpu]:
    with tf32(False), pretended(monkeypatch, multiprocessors=2) as machine:
        yield machine


class Training:
    """A trainer on the GPU, and the reference of its losses and weights."""

    def __init__(self, shape: tuple[int, ...] = SMALL, backend: str = "cuda", seed: int = 5) -> None:
        frames, batch, bins, latents, taps, pool = shape
        rng = np.random.default_rng(seed)
        self.signal, self.noise = ([[rng.random((frames + n, bins)).astype(np.float32)]] for n in (20, 9))
        share = 0.5 if batch > 1 else 0.0
        sampler = pf.CropSampler(self.signal, self.noise, frames, batch, share, seed)
        self.drawn = frames, batch, share, seed
        model = pf.ConvPartitionedAutoencoder(bins, latents, taps, pool, seed=seed)
        weights = {name: w.detach().numpy().copy() for name, w in model.named_parameters()}
        self.learner = reference.beginner(weights)
        options = {"rho": 0.95, "epsilon": 1e-6, "weight_decay": 0.0, "learning_rate": RATE}
        self.setting = reference.Setting(model.foreground.double().numpy(), pool, 0.75, "adadelta", options)
        self.trainer = pf.Trainer(model.to("cuda"), sampler, backend=backend, learning_rate=RATE)
        self.truth: list[float] = []

    def agrees(self) -> bool:
        """Return whether all losses so far, and the weights, are those of the reference."""
        model, steps = self.trainer.model, self.trainer.step
        learner, truth = reference.train_steps(
            self.learner, self.signal, self.noise, self.setting, steps, *self.drawn, 0, ()
        )
        weights = [(getattr(model, name).detach().cpu().numpy(), learner.weights[name]) for name in ("w_enc", "w_dec")]
        pairs = [(np.array(self.trainer.history.loss), np.array(truth)), *weights]
        assert steps > 0 and model.w_enc.is_cuda
        return all(np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b) for a, b in pairs)


@pytest.mark.parametrize(
    ("shape", "launched"), [(SMALL, (2, 1, True)), (LARGE, (2, 2, True))], ids=["blocks", "a cluster"]
)
def test_a_trainer_gets_the_losses_of_the_reference(gpu, shape, launched):
    training = Training(shape)
    assert training.trainer.fused() == "cuda"
    training.trainer.run(5)
    assert training.agrees()
    assert set(gpu.launches()) == {launched}


def test_a_launch_copies_once_to_the_gpu_without_waiting_and_once_back(gpu):
    training = Training()
    training.trainer.run(1)  # checks the recordings, reads the share of foreground latents
    uploads, downloads = gpu.machine.uploads, gpu.machine.downloads
    uploads.clear()
    training.trainer.run(4)
    count = len(gpu.launches()) - 1
    assert count >= 1 and uploads == [False] * count and gpu.machine.downloads - downloads == count
    training.trainer.model.foreground[0] = 0.5
    training.trainer.run(1)
    assert gpu.machine.downloads - downloads == count + 2  # of the losses, and of the changed share


def test_trainers_side_by_side_are_one_launch(gpu):
    trainings = [Training(seed=seed) for seed in (5, 6)]
    trainers = [training.trainer for training in trainings]
    gpu.machine.uploads.clear()
    for trainer, losses in zip(trainers, launch(trainers, 3, "cuda", "cuda"), strict=True):
        trainer.record_losses(losses)
    assert gpu.launches() == [(2, 1, False)] and gpu.machine.uploads == [False]
    assert all(training.agrees() for training in trainings)


LAUNCH = (
    "CUDA failed to launch train_steps with 2 blocks of 256 threads in clusters of 1, [0-9]+ bytes of shared memory"
)
CALLS = {
    "cuLaunchKernelEx": LAUNCH,
    "cuFuncSetAttribute": "train_steps with [0-9]+ bytes of shared memory a block cannot be prepared: CUDADriverError",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor": "CUDA failed to count the blocks of train_steps that fit",
}
FAULTS = [
    *(("cuLaunchKernelEx", error) for error in (INVALID_VALUE, OUT_OF_RESOURCES, TOO_LARGE, INVALID_CLUSTER_SIZE)),
    *((call, INVALID_VALUE) for call in list(CALLS)[1:]),
]


@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_a_call_that_fails_is_reported_in_one_line(gpu, call, error):
    training = Training()
    gpu.fail(call, error)
    with pytest.raises(BackendFailed, match=f"^{CALLS[call]}.*; use backend='triton' or 'eager'$"):
        training.trainer.run(3)
    assert training.trainer.step == 0
    training.trainer.run(3)  # the error was that of one call
    assert training.agrees()


@pytest.mark.parametrize(("call", "error"), FAULTS[-3:])
def test_auto_goes_on_without_a_back_end_that_fails(gpu, call, error, caplog):
    training = Training(backend="auto")
    gpu.fail(call, error)
    with caplog.at_level(logging.WARNING, "partae_fast"):
        training.trainer.run(3)
    assert training.agrees() and gpu.launches() == []  # nor is it tried again
    (warning,) = caplog.messages
    assert warning.startswith("train_steps on cuda:0: back-end cuda is passed over: ") and "\n" not in warning


def test_memory_that_does_not_suffice_once_is_asked_for_again(gpu, caplog):
    training = Training(backend="auto")
    gpu.fail("cuLaunchKernelEx", OUT_OF_MEMORY)
    with caplog.at_level(logging.WARNING, "partae_fast"):
        training.trainer.run(4)
    assert training.agrees() and gpu.launches()  # after one step on eager
    (warning,) = caplog.messages
    assert "CUDA_ERROR_OUT_OF_MEMORY" in warning
    explicit = Training()
    gpu.fail("cuLaunchKernelEx", OUT_OF_MEMORY)
    with pytest.raises(BackendUnavailable, match=f"^{LAUNCH} each: CUDA_ERROR_OUT_OF_MEMORY; use .*$") as raised:
        explicit.trainer.run(1)
    assert not isinstance(raised.value, BackendFailed)


COMPILE_ERRORS = [
    CompileException("kernel.cu(3): error: x\n1 error"),
    RuntimeError("Failed to find CUDA headers.\nSee"),
]


@pytest.mark.parametrize("error", COMPILE_ERRORS, ids=lambda error: type(error).__name__)
def test_a_kernel_that_does_not_compile(gpu, error, caplog):
    gpu.cupy.error = error
    with pytest.raises(BackendFailed, match=r"^train_steps with [0-9]+ bytes .* cannot be prepared: [^\n]*$"):
        Training().trainer.run(1)
    gpu.cupy.error = error
    training = Training(backend="auto")
    with caplog.at_level(logging.WARNING, "partae_fast"):
        training.trainer.run(3)
    assert training.agrees() and gpu.launches() == [] and len(caplog.messages) == 1


@pytest.mark.parametrize("error", [INVALID_VALUE, INVALID_CLUSTER_SIZE])
def test_clusters_that_the_query_refuses_are_not_used(gpu, error):
    training = Training(LARGE)
    gpu.fail("cuOccupancyMaxActiveClusters", error)
    training.trainer.run(1)
    assert training.agrees() and {cluster for _, cluster, _ in gpu.launches()} == {1}


@pytest.mark.parametrize("backend", ["cuda", "auto"])
@pytest.mark.parametrize("error", [ILLEGAL_ADDRESS, LAUNCH_FAILED])
def test_a_kernel_that_fails_ends_the_training(gpu, backend, error):
    """No back-end can go on in this process: its memory and later launches are lost."""
    training = Training(backend=backend)
    gpu.fail("kernel", error)
    with pytest.raises(RuntimeError, match="an earlier kernel failed") as raised:
        training.trainer.run(2)
    assert not isinstance(raised.value, BackendUnavailable) and training.trainer.step == 0
    with pytest.raises(RuntimeError, match=r"because an earlier kernel failed: CUDA_ERROR_.*; restart the process"):
        training.trainer.run(2)


def test_the_driver_refuses_wrong_launches(gpu):
    training = Training()
    training.trainer.run(1)
    run = training.trainer.as_run()
    assert run is not None
    cut, kernel, blocks = cuda.prepared(run.shape, 1, 1, False, (), 0)
    launch_data = cuda.packed([run], cut, blocks, 1, 1)
    argument = launch_data.launch
    stream = torch.cuda.current_stream().cuda_stream
    wrong = {
        "CLUSTER_SIZE": (replace(kernel, cluster=2), blocks, argument, stream),
        "TOO_LARGE": (kernel, 64, argument, stream),
        "INVALID_VALUE": (replace(kernel, threads=128), blocks, argument, stream),
    }
    wrong |= {
        "INVALID_VALUE: stream": (kernel, blocks, argument, 0),
        "INVALID_VALUE: shared": (replace(kernel, shared=kernel.shared + 1), blocks, argument, stream),
    }
    for name, (changed, count, data, on) in wrong.items():
        with pytest.raises(BackendFailed, match=name.partition(":")[0]):
            changed.launch(count, data, on)
    assert len(gpu.launches()) == 1
