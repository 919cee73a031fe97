"""Measurements at scale: long files, many files, long runs and several processes.

    work.py     time against work: hours, files and gigabytes; where it becomes proportional
    memory.py   peak memory for a recording of a day and for one of ten minutes; results in chunks and in one piece
    folder.py   ten thousand files, some corrupt; the run is killed, also on a cluster, and resumed; files per minute
    cluster.py  files on a Dask cluster; one worker is killed
    soak.py     training and denoising many times in one process
    ddp.py      training by several processes: steps per second, bytes sent, and an estimate for more processes
    common.py   shared functions

python -m partae_fast.bench.scale memory --hours 24
python -m partae_fast.bench.scale folder --files 10000

Each command prints its progress and writes NAME.json and NAME.md to --results (default bench/results/scale). The exit
code is 1 if one of its claims does not hold.
"""
