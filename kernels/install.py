"""The line that installs an extra, for the way in which this copy of the package was installed."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re

DISTRIBUTION = "dinar-live"
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")


def checkout() -> pathlib.Path | None:
    """The checkout that this module lies in, or None where the package is installed elsewhere."""
    root = pathlib.Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else None


def requirement(extra: str) -> str:
    """What pip must be given to get `extra`, quoted for a shell.

    In a checkout the checkout itself, as `"/home/me/dinar-live[gpu]"`, `".[gpu]"` where that is the current
    folder. For an installed package the packages that the extra names: that works wherever the package came
    from, also from a wheel that no index has. KeyError for an extra that there is not.
    """
    if (root := checkout()) is not None:
        place = "." if root == pathlib.Path.cwd() else root
        return f'--editable "{place}[{extra}]"'
    return " ".join(f'"{name}"' for name in _packages(extra))


def install_line(extra: str) -> str:
    """The whole command, as `pip install --editable ".[export]"` or `pip install "torch>=2.6" "onnx>=1.19"`."""
    return f"pip install {requirement(extra)}"


def _packages(extra: str) -> list[str]:
    """The requirements of an extra, with those of the extras that it is made of."""
    found = []
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        name, _, marker = line.partition(";")
        if (of := _EXTRA.search(marker)) is None or of[1] != extra:
            continue
        own = re.match(rf"{DISTRIBUTION}\[([\w-]+)\]", name.strip())
        found += _packages(own[1]) if own else [name.strip()]
    if not found:
        raise KeyError(extra)
    return list(dict.fromkeys(found))


def reinstall_line() -> str:
    """The command that puts a damaged copy of the package itself right."""
    if (root := checkout()) is not None:
        place = "." if root == pathlib.Path.cwd() else root
        return f'pip install --no-deps --editable "{place}"'
    return "pip install --force-reinstall --no-deps WHEEL, with the wheel that it came from"
