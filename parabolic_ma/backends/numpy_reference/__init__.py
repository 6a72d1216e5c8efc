"""The NumPy backend: kernels to be read; `kernels` is the whole set."""
