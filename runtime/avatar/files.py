"""Reading and writing the files of a bundle: a folder or an uncompressed .zip, hash-checked, capped, written
whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
import zipfile

import numpy as np
import safetensors
import safetensors.numpy

from dinar_live.runtime.core.errors import BundleError

MAX_FILES = 256
MAX_FILE_BYTES = 512 << 20
MAX_TOTAL_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}")


class BundleFiles:
    """Read access to the files of a bundle. Names are relative, checked against NAME, so nothing outside is
    ever opened."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._zip = None
        if self.path.is_dir():
            return
        if not self.path.is_file():
            raise BundleError(
                f"{self.path}: no such avatar; expected a bundle folder or .zip (make one with 'dinar export')"
            )
        try:
            self._zip = zipfile.ZipFile(self.path)
            entries = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, NotImplementedError) as e:
            raise BundleError(f"{self.path}: not a bundle folder or readable .zip ({e})") from e
        if len(entries) > MAX_FILES or sum(e.file_size for e in entries) > MAX_TOTAL_BYTES:
            raise BundleError(
                f"{self.path}: {len(entries)} files, {sum(e.file_size for e in entries)} bytes; expected at most {MAX_FILES} files, "
                f"{MAX_TOTAL_BYTES} bytes"
            )
        if packed := [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]:
            raise BundleError(
                f"{self.path}: {packed[0]} is compressed, expected an uncompressed .zip (zip -0)"
            )

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """The bytes of one file. Raises BundleError for bad names, missing or oversized files."""
        if not NAME.fullmatch(name):
            raise BundleError(
                f"{self.path}: file name {name!r} is not allowed in a bundle, expected letters, digits, '_', '-', '.' and '/'"
            )
        try:
            if self._zip is not None:
                if self._zip.getinfo(name).file_size > limit:
                    raise BundleError(
                        f"{self.path}: {name} has {self._zip.getinfo(name).file_size} bytes, expected at most {limit}"
                    )
                return self._zip.read(name)
            file = self.path / name
            if not file.resolve().is_relative_to(self.path.resolve()):
                raise BundleError(f"{self.path}: {name} is a link that leads out of the bundle")
            if file.exists() and not file.is_file():
                raise BundleError(f"{self.path}: {name} is no plain file")  # reading a pipe would never end
            if file.stat().st_size > limit:
                raise BundleError(
                    f"{self.path}: {name} has {file.stat().st_size} bytes, expected at most {limit}"
                )
            return file.read_bytes()
        except KeyError:
            raise BundleError(f"{self.path}: {name} is missing") from None
        except FileNotFoundError:
            raise BundleError(f"{self.path}: {name} is missing") from None
        except (OSError, zipfile.BadZipFile, RuntimeError) as e:
            raise BundleError(f"{self.path}: {name} cannot be read ({e})") from e

    def checked(self, name: str, sha256: str) -> bytes:
        """The bytes of one file, refused unless their SHA-256 is `sha256`."""
        content = self.read(name)
        if (got := hashlib.sha256(content).hexdigest()) != sha256:
            raise BundleError(
                f"{self.path}: {name} has sha256 {got}, avatar.json expects {sha256}; the bundle is damaged or was edited, export it again"
            )
        return content

    def close(self):
        if self._zip is not None:
            self._zip.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def tensors(name: str, content: bytes) -> dict[str, np.ndarray]:
    """Arrays of a .safetensors file; BundleError when it is not one."""
    try:
        return safetensors.numpy.load(content)
    except (
        safetensors.SafetensorError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as e:
        raise BundleError(f"{name}: not a safetensors file of plain arrays ({e})") from e


def refuse_existing(path: pathlib.Path, overwrite: bool) -> None:
    """BundleError when something stands at `path` that must not be replaced."""
    if path.exists() and not overwrite:
        raise BundleError(f"{path}: already exists; choose another --out or pass --overwrite")
    if path.is_dir() and any(path.iterdir()) and not (path / "avatar.json").is_file():
        raise BundleError(f"{path}: is a folder that is not an avatar bundle, not overwriting it")


@contextlib.contextmanager
def replaced_whole(path, overwrite: bool = False):
    """Yield a temporary folder beside `path` that becomes `path` when the block ends well and vanishes when
    it does not. A `path` that ends in .zip is packed (uncompressed). Refuses an existing `path` unless
    `overwrite`."""
    path = pathlib.Path(path)
    refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        os.chmod(work, 0o755)
        yield work
        result = work
        if path.suffix == ".zip":
            result = work.with_name(work.name + ".zip")
            with zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as z:
                for file in sorted(p for p in work.rglob("*") if p.is_file()):
                    z.write(file, file.relative_to(work).as_posix())
        old = None
        if path.exists():
            old = work.with_name(work.name + ".old")
            os.replace(path, old)
        try:
            os.replace(result, path)
        except OSError:
            if old is not None:
                os.replace(old, path)
            raise
        if old is not None:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    finally:
        shutil.rmtree(work, ignore_errors=True)
        work.with_name(work.name + ".zip").unlink(missing_ok=True)


def png(image: np.ndarray) -> bytes:
    """An RGBA or RGB uint8 image [H,W,c] as PNG bytes."""
    import cv2

    code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    ok, out = cv2.imencode(".png", cv2.cvtColor(image, code))
    if not ok:
        raise BundleError(f"image of shape {list(image.shape)} cannot be encoded as PNG")
    return out.tobytes()
