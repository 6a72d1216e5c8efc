"""The Numba backend: kernels compiled for the CPU; `kernels` is the whole set."""
