"""Engine cache: compiled engines in a private folder of the user, under a key of everything that they depend
on.

A compiled engine is machine code, so the folder is the user's alone (0700, checked) or root's, a file is written whole
or not at all, and its hash and its whole key are checked before anything is made of it. A file that does not
match is deleted and counts as absent.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import platform
import stat
import sys
import tempfile
from dataclasses import dataclass

from .base import EngineError

MAX_BYTES = 8 << 30  # all files together; the least recently used go first
_MAGIC = b"dinar-live engine 1\n"
_SUFFIX = ".engine"
_log = logging.getLogger(__name__)


def default_folder() -> pathlib.Path:
    """Where engines are kept unless the caller says otherwise: $DINAR_CACHE, else the user's cache folder.
    EngineError without a home."""
    if given := os.environ.get("DINAR_CACHE"):
        return pathlib.Path(given) / "engines"
    try:
        return _user_cache() / "dinar-live" / "engines"
    except RuntimeError as error:
        raise EngineError(
            "there is no home folder to keep engines in: set DINAR_CACHE to a folder of yours"
        ) from error


def _user_cache() -> pathlib.Path:
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return pathlib.Path.home() / "Library" / "Caches"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")


def platform_name() -> str:
    """Operating system and processor architecture, as in "linux x86_64"."""
    return f"{platform.system().lower()} {platform.machine().lower()}"


@dataclass(frozen=True)
class EngineKey:
    """What a compiled engine depends on. A change of any field is another engine.

    kind: "plan", or "timing" for what a builder measured. model: sha256 of the ONNX file. shapes: (tensor
        name, shape) of the inputs.
    engine: name and full version. platform: see platform_name. flags: build settings.
    """

    kind: str
    model: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    engine: str
    gpu: str
    compute_capability: str
    platform: str
    flags: tuple[str, ...]

    def text(self) -> str:
        """The key as one line of JSON, always the same for the same key."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    def file_name(self) -> str:
        return hashlib.sha256(self.text().encode()).hexdigest()[:40] + _SUFFIX


class EngineCache:
    """`load`, `store` and `drop` of the engine under a key. folder: default_folder() if None. EngineError if
    it cannot be private."""

    def __init__(self, folder: str | os.PathLike | None = None, max_bytes: int = MAX_BYTES):
        self.folder = default_folder() if folder is None else pathlib.Path(folder)
        self._max_bytes = max_bytes
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_private()
        except OSError as error:
            raise EngineError(
                f"the engine cache {self.folder} cannot be used ({error.strerror or error}): choose another folder with "
                "cache_dir"
            ) from error

    def _make_private(self) -> None:
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode):
            raise EngineError(
                f"the engine cache {self.folder} is not a folder (or a link to one): choose another with cache_dir"
            )
        if hasattr(os, "getuid"):  # Windows: the folder inherits the profile's rights
            if found.st_uid == 0 != os.getuid() and not found.st_mode & 0o022:
                return  # of the system, as in an image: only root can have written it, and it is read only
            if found.st_uid != os.getuid():
                raise EngineError(
                    f"the engine cache {self.folder} belongs to another user, whose engines would run with your rights: "
                    "choose another folder with cache_dir"
                )
            if found.st_mode & 0o077:
                os.chmod(self.folder, 0o700)

    def path(self, key: EngineKey) -> pathlib.Path:
        return self.folder / key.file_name()

    def load(self, key: EngineKey) -> bytes | memoryview | None:
        """The engine's bytes, None if it is not there or not what was stored."""
        path = self.path(key)
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
            with open(handle, "rb") as file:
                found = os.fstat(handle)
                foreign = hasattr(os, "getuid") and found.st_uid != os.getuid()
                content = b"" if foreign or not stat.S_ISREG(found.st_mode) else file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning(
                "engine cache: %s cannot be read (%s); building again", path, error.strerror or error
            )
            return None
        head, key_line, digest, data = _split(content)
        if (
            head != _MAGIC
            or key_line != key.text().encode()
            or digest != hashlib.sha256(data).hexdigest().encode()
        ):
            _log.warning("engine cache: %s is damaged; building again", path)
            self.drop(key)
            return None
        try:
            os.utime(path)  # used now: the last to be removed
        except OSError:
            pass  # a read-only cache serves as well
        return data

    def store(self, key: EngineKey, data: bytes) -> pathlib.Path:
        """Write an engine, whole or not at all. EngineError if the disk will not have it."""
        path = self.path(key)
        content = b"".join(
            (_MAGIC, key.text().encode(), b"\n", hashlib.sha256(data).hexdigest().encode(), b"\n", data)
        )
        temporary = None
        try:
            handle, temporary = tempfile.mkstemp(
                prefix=".", suffix=".partial", dir=self.folder
            )  # mkstemp: 0600, never follows a link
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.replace(temporary, path)
        except OSError as error:
            if temporary is not None:
                pathlib.Path(temporary).unlink(missing_ok=True)
            raise EngineError(
                f"the engine cannot be kept in {self.folder} ({error.strerror or error}): free space there or choose another "
                "folder with cache_dir"
            ) from error
        self._prune(path)
        return path

    def drop(self, key: EngineKey) -> None:
        """Delete the engine under a key, if it is there."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("engine cache: %s cannot be deleted (%s)", self.path(key), error.strerror or error)

    def _prune(self, newest: pathlib.Path) -> None:
        files = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                found = path.stat()
            except OSError:
                continue  # another process removed it
            files.append((path == newest, found.st_mtime, found.st_size, path))
        excess = sum(size for _, _, size, _ in files) - self._max_bytes
        for is_newest, _, size, path in sorted(files):
            if excess <= 0 or is_newest:
                return
            path.unlink(missing_ok=True)
            excess -= size


def _split(content: bytes) -> tuple[bytes, bytes, bytes, memoryview]:
    """magic line, key, hash and the engine itself; empty parts where the file is too short."""
    at = len(_MAGIC)
    key_end = content.find(b"\n", at)
    digest_end = content.find(b"\n", key_end + 1) if key_end >= 0 else -1
    if digest_end < 0:
        return b"", b"", b"", memoryview(b"")
    return (
        content[:at],
        content[at:key_end],
        content[key_end + 1 : digest_end],
        memoryview(content)[digest_end + 1 :],
    )
