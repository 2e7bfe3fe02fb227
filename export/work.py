"""Stages of a long export kept in a folder, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import safetensors
import safetensors.numpy

from dinar_live.runtime.core.errors import DinarError

CHUNK = 1 << 22


def fingerprint(files: Iterable, settings: dict, arrays: Mapping[str, np.ndarray] | None = None) -> str:
    """A key of the contents of `files`, of plain `settings` and of `arrays`: what was computed from other
    ones is not used again."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        with pathlib.Path(path).open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    for name, array in (arrays or {}).items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


class Work:
    """A folder of finished stages. `folder` None keeps nothing.

    key: of everything that stages depend on; a stage of another key is computed again. Raises DinarError when
        the disk refuses.
    """

    def __init__(self, folder, key: str):
        self.folder = None if folder is None else pathlib.Path(folder)
        self.key = key
        self.seconds: dict[str, float] = {}

    def stage(self, name: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays of stage `name`: read from the folder, or computed and then kept there (whole, or not at
        all)."""
        began = time.perf_counter()
        arrays = self._read(name)
        if arrays is None:
            print(f"{name} ...", flush=True)
            arrays = {k: np.ascontiguousarray(v) for k, v in compute().items()}
            self._write(name, arrays)
        self.seconds[name] = round(time.perf_counter() - began, 2)
        return arrays

    def file(self, name: str) -> pathlib.Path | None:
        """Where a stage that keeps its own state may do so; None where nothing is kept."""
        if self.folder is None:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._path(name)

    def _path(self, name: str) -> pathlib.Path:
        assert self.folder is not None
        return self.folder / f"{name}-{self.key}.safetensors"

    def _read(self, name: str) -> dict[str, np.ndarray] | None:
        if self.folder is None or not self._path(name).is_file():
            return None
        try:
            arrays = safetensors.numpy.load_file(self._path(name))
        except (safetensors.SafetensorError, OSError, ValueError) as e:
            raise DinarError(
                f"{self._path(name)}: cannot be read ({e}); delete {self.folder} and start again"
            ) from e
        print(f"{name}: taken from {self.folder}", flush=True)
        return arrays

    def _write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        if self.folder is None:
            return
        path = self._path(name)
        part = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(safetensors.numpy.save(arrays))
            os.replace(part, path)
        except OSError as e:
            part.unlink(missing_ok=True)
            raise DinarError(
                f"{path}: cannot be written ({e.strerror or e}); free some space and run the same command again"
            ) from e

    def remove(self) -> None:
        """Delete the folder: the work is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
