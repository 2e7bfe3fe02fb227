"""Shows a checkout as the package it becomes when installed: links dinar_live/runtime to runtime, and so on.

The four folders lie at the top of the repository and are `dinar_live.runtime` and so on when installed.
Python finds them there through the editable install; editors, type checkers and search tools look for plain
folders, which these links are. `pip install --editable .` makes them; git ignores them. Symbolic links, and
on Windows junctions, which need no rights.

    python dinar_live/link_checkout.py
"""

import os
import pathlib
import sys

FOLDERS = ("runtime", "export", "kernels", "engines", "clients")


def link(repository: pathlib.Path) -> None:
    """Makes the links that are missing and mends those that point elsewhere. OSError where a plain folder is
    in the way."""
    for name in FOLDERS:
        place, target = repository / "dinar_live" / name, repository / name
        if not target.is_dir():
            continue
        if os.path.lexists(place):
            if place.exists() and place.resolve() == target.resolve():
                continue
            place.unlink()
        if sys.platform == "win32":
            import _winapi

            _winapi.CreateJunction(str(target), str(place))
        else:
            place.symlink_to(pathlib.Path("..") / name, target_is_directory=True)


if __name__ == "__main__":
    link(pathlib.Path(__file__).resolve().parent.parent)
