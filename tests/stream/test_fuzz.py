"""Random and mutated messages through the decoders: the part of benchmarks/fuzz_messages.py that every test
run can afford."""

import importlib.util
import pathlib
import sys
import tracemalloc

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "fuzz_messages.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_messages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_twenty_thousand_messages(fuzz):
    outcomes = fuzz.run(20_000, seed=11)
    assert sum(outcomes.values()) == 20_000
    assert outcomes["refused"] > 10_000, "they are hostile"
    assert outcomes["read"] > 2000 and outcomes["drawn"] > 100 and outcomes["not drawn"] > 100, (
        "and they reach past the header"
    )


def test_the_same_seed_gives_the_same_messages(fuzz):
    seeds = fuzz.corpus()
    assert (
        list(fuzz.messages(500, 3, seeds))
        == list(fuzz.messages(500, 3, seeds))
        != list(fuzz.messages(500, 4, seeds))
    )


def test_it_would_notice(fuzz, monkeypatch):
    """A decoder that allocates by a length it was told, or that raises something else."""
    tracemalloc.start()
    try:
        monkeypatch.setattr(fuzz, "decode", lambda raw: bytes(1 << 20))
        with pytest.raises(AssertionError, match="bytes for a message of 64"):
            fuzz.check(bytes(64))
        monkeypatch.setattr(fuzz, "decode", lambda raw: raw[10])
        with pytest.raises(IndexError):
            fuzz.check(b"short")
    finally:
        tracemalloc.stop()
