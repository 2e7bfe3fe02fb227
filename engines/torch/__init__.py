"""torch as an engine: the reference on a CPU, and a fallback on a GPU."""
