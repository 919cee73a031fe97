"""What the CUDA C implementations share: compiling, launching, barriers, and the shim that stands for a GPU."""
