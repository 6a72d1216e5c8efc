"""The CUDA backend: kernels in CUDA C++, in `sources`, and what launches them from Python."""
