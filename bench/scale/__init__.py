"""Figures of scale: what long files, many files and long runs take. Each is a command, with sizes to choose.

    memory.py   peak memory of denoising a day's recording beside ten minutes of it; chunks beside the whole
    folder.py   ten thousand files, some of them corrupt, killed and started again; files a minute with one and two jobs
    cluster.py  files on a Dask cluster of which a worker is killed
    soak.py     training and denoising over and over in one process
    ddp.py      training by several processes: steps a second, what they send, and how it goes on on paper
    common.py   what they share

python -m partae_fast.bench.scale memory --hours 24
python -m partae_fast.bench.scale folder --files 10000

Each prints how far it is, writes NAME.json and NAME.md to --results (default bench/results/scale), and ends with exit
code 1 where what it measures is not as claimed.
"""
