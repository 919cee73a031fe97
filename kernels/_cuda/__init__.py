"""Code that the CUDA C implementations share: compiling, launching, barriers, and a shim that replaces a GPU."""
