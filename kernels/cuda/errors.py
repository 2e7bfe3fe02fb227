"""What goes wrong on the way to an NVIDIA GPU."""


class CudaError(RuntimeError):
    """No package, no driver, no GPU, or a call that the driver refused; the text says which, and what to
    do."""
