"""Does a captured CUDA graph compute what the eager run computes? Silent failures of captures are on record:
an empty graph, the outputs of the warm-up for every input. So a graph is believed only after it gave the
eager results on two different inputs."""

from collections.abc import Callable

import numpy as np

_TOLERANCE = 1e-3  # kernels that add with atomics do not repeat their last bits
Arrays = dict[str, np.ndarray]


def replay_problem(
    shapes: dict[str, tuple[int, ...]], eager: Callable[[Arrays], Arrays], replay: Callable[[Arrays], Arrays]
) -> str:
    """ "" if `replay` agrees with `eager` on two different inputs of these shapes, else what is wrong.

    eager, replay: inputs (float32) -> copies of the outputs. Inputs are seeded, uniform in [-1, 1].
    """
    trials = [
        {
            name: np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
            for name, shape in shapes.items()
        }
        for seed in (1, 2)
    ]
    wanted = [eager(trial) for trial in trials]
    got = [replay(trial) for trial in trials]
    for trial, (want, have) in enumerate(zip(wanted, got, strict=True), 1):
        for name, array in want.items():
            difference = np.abs(array.astype(np.float64) - have[name])
            if not np.isfinite(array).all():
                return f"output {name!r} of the eager run is not finite on random input {trial}"
            if not (difference <= _TOLERANCE * np.maximum(1, np.abs(array))).all():
                return f"output {name!r} differs by up to {difference.max():.3g} on input {trial}"
    if all(np.array_equal(wanted[0][name], wanted[1][name]) for name in wanted[0]):
        return "both test inputs give the same outputs, so a graph that repeats its first result could not be told"
    return ""
