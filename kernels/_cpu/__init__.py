"""What the CPU implementations share: compiling, threads, vector code, passes over runs and maps."""

# Multiplications from which on `products` may choose a library that is faster than PyTorch's; for fewer PyTorch is as
# fast. It stands here because importing `products` imports Numba.
LARGE_PRODUCT = 400_000_000
