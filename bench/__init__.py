"""Benchmarks: each op and a whole training step, beside its peers, against the floor of the hardware it runs on.

    timing.py      interleaved timing, and the row that a measurement becomes
    ceilings.py    what this machine can do: matrix product, dot products, copy, barrier, launch, graph replay
    command.py     runs them, prints the table, writes the rows
    peers.py       the same mathematics as one would write it in PyTorch
    encode.py ...  one file for each op, `startup.py` for the first step
    maps.py        what the convolutions of maps share: peers in both orders of storage
    train_step.py  whole training steps: the floor, ours, the peers
    denoise.py     denoising from file to file, beside noisereduce
    population.py  several models side by side
    curves.py      time of a step over each of its sizes
    memory.py      what a step allocates, each version in a process of its own (step_memory.py)
    common.py      a contest between versions: checked against float64, timed, checked again
    candidate.py   a function of one's own as one more back-end of its op
    shapes.py      the shapes, their inputs, and the work that cannot be avoided
    render.py      rows -> a Markdown table and a plot
    gpu.sh, gpu.py every GPU check and benchmark, in three calls (gpu_probe.py: what they ask)

Rows are kept under results/. A version that is wrong is not timed; a time below the floor is an error. How good
denoising is `partae evaluate` says.
"""
