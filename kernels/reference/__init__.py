"""Float64 numpy references of the kernels."""
