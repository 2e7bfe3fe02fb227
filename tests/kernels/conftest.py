"""Fixtures of the kernel tests."""

import numpy as np
import pytest

from dinar_live.kernels import _cpu


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def variants():
    """Iterates over the instruction sets of this CPU, each in use during its turn; the best one is in use
    again afterwards."""
    names = _cpu.variants()

    def each():
        for name in names:
            _cpu.use_variant(name)
            yield name

    yield each()
    _cpu.use_variant(names[-1])
