"""Benchmarks of ops and training steps, compared with PyTorch and with the limits of the hardware.

    bench_encode.py ...  one file for each op, and for training steps, populations, denoising and process startup
    conftest.py     options and fixtures of `pytest bench`; session.py measures the groups
    declaration.py  the decorator that declares a benchmark; passes.py, losses.py, maps.py: contests for each kind of op
    run.py          the command `partae bench`, with --compare
    common.py       a contest between versions: checked against float64, timed, checked again
    timing.py       interleaved timing, and the row of results for a version
    ceilings.py     limits of this machine: matrix product, dot products, copy, barrier, launch, graph replay
    peers.py        plain PyTorch implementations to compare with
    candidate.py    a user's function as an additional back-end of its op
    shapes.py       the shapes, their inputs, and the minimum work of each pass
    train_step.py   whole training steps: the floor, partae, the peers; population.py: several models side by side
    curves.py       time of a step as each of its sizes grows
    memory.py       memory of a training step, each version in its own process (step_memory.py)
    render.py       JSON -> a Markdown table and a plot
    gpu.sh, gpu.py  every GPU check and benchmark, in three calls (gpu_probe.py: one check or measurement per process)

Results are stored in results/. docs/benchmarking.md explains how to benchmark a change.
"""
