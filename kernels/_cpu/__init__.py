"""What the CPU implementations share: compiling, threads, vector code, passes over runs and maps."""
