"""Benchmarks: each op and a whole training step, beside its peers, against the floor of the hardware it runs on.

    bench_encode.py ...  one file for each op, and for training steps, populations, denoising, the start of a process
    conftest.py     options and fixtures of `pytest bench`; session.py measures the groups
    declaration.py  how a benchmark is declared; passes.py, losses.py, maps.py: contests of one kind of op
    run.py          the command `partae bench`; --compare
    common.py       a contest between versions: checked against float64, timed, checked again
    timing.py       interleaved timing, and the row that a measurement becomes
    ceilings.py     what this machine can do: matrix product, dot products, copy, barrier, launch, graph replay
    peers.py        the same mathematics as one would write it in PyTorch
    candidate.py    a function of one's own as one more back-end of its op
    shapes.py       the shapes, their inputs, and the work that cannot be avoided
    train_step.py   whole training steps: the floor, ours, the peers; population.py: several models side by side
    curves.py       time of a step over each of its sizes
    memory.py       what a step allocates, each version in a process of its own (step_memory.py)
    render.py       JSON -> a Markdown table and a plot
    gpu.sh, gpu.py  every GPU check and benchmark, in three calls (gpu_probe.py: single questions)

Results are kept under results/. docs/benchmarking.md explains how to benchmark a change.
"""
