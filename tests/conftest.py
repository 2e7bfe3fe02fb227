"""Fixtures shared by all tests."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of captures and reference data beside the checkout (or $DINAR_SHARED); tests that need it are skipped without it."""
    path = pathlib.Path(os.environ.get("DINAR_SHARED", ROOT.parent / "shared"))
    if not (path / "people").is_dir():
        pytest.skip("no shared data beside the checkout")
    return path


@pytest.fixture(scope="session")
def data() -> pathlib.Path:
    """Small files that the tests own."""
    return ROOT / "tests" / "data"
