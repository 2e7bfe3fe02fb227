"""A folder of compiled kernels that only its user can write to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import sys
import tempfile

_DIGEST = 32
KEEP = 32
"""Files kept; the oldest go first."""


class Cache:
    """Bytes by key, in files that are written whole or not at all and carry the hash of their content.

    folder: made on the first write, for this user alone. None, or a folder that somebody else may write to:
    nothing is read or kept, because compiled kernels are code.
    """

    def __init__(self, folder: pathlib.Path | None):
        self.folder = folder

    @classmethod
    def of_user(cls) -> Cache:
        """DINAR_CACHE, else the platform's cache folder, else (no home) none."""
        if given := os.environ.get("DINAR_CACHE"):
            return cls(pathlib.Path(given) / "kernels")
        base = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
        try:
            root = pathlib.Path(base) if base else pathlib.Path.home() / ".cache"
        except RuntimeError:
            return cls(None)
        return cls(root / "dinar-live" / "kernels")

    def read(self, key: str) -> bytes | None:
        """None if it is not there or damaged."""
        if self.folder is None or not self._private():
            return None
        try:
            content = (self.folder / f"{key}.cubin").read_bytes()
        except OSError:
            return None
        digest, data = content[:_DIGEST], content[_DIGEST:]
        return data if hashlib.sha256(data).digest() == digest else None

    def write(self, key: str, data: bytes) -> None:
        """Keep `data`; a folder that cannot be written to costs a compilation next time, no more."""
        if self.folder is None:
            return
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._private():
                return
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
            with os.fdopen(handle, "wb") as f:
                f.write(hashlib.sha256(data).digest() + data)
            os.replace(temporary, self.folder / f"{key}.cubin")
            temporary = None
            _prune(self.folder)
        except OSError:
            pass
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def _private(self) -> bool:
        if self.folder is None:
            return False
        if sys.platform == "win32":  # the user's profile is private there
            return self.folder.is_dir()
        try:
            status = os.lstat(self.folder)
        except OSError:
            return False
        return (status.st_mode & 0o170022) == 0o040000 and status.st_uid == os.getuid()


def _prune(folder: pathlib.Path) -> None:
    files = sorted(folder.glob("*.cubin"), key=lambda p: p.stat().st_mtime)
    for old in files[:-KEEP]:
        old.unlink(missing_ok=True)
