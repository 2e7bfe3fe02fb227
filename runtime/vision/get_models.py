"""Gets the networks' files: from PyPI through pip, or from a file that somebody brought.

pip knows the user's index, proxy and certificates, so there is no client and no address of ours. Each file is
checked by its full sha256 before it gets its name; what is there is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable

from dinar_live.runtime.core.errors import ModelError

from .models import DOWNLOAD_BYTES, LICENCE, MODELS, REQUIRED, VERSION, ModelFile, ModelFolder

MAX_SECONDS = 3600
_NOTICE = f"""The .tflite files in this folder are networks of MediaPipe, copyright The MediaPipe Authors, under the
Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0), as the PyPI package mediapipe {VERSION} carries them.
"""
# The files are the same in each of the package's wheels; this one is named so that any machine may ask for it.
_WHEEL = (
    "--no-deps", "--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311",
    "--platform=manylinux2014_x86_64", f"mediapipe=={VERSION}",
)  # fmt: skip


def get_with_pip(folder: ModelFolder, say: Callable[[str], None] = print) -> None:
    """Fetch the wheel and unpack its networks into the folder; does nothing if all are there. pip's progress bar
    goes to standard error. say: told size, licence and place before. Raises ModelError."""
    wanting = folder.wanting()
    if not wanting:
        return
    say(
        f"getting the networks that find people in pictures: {DOWNLOAD_BYTES / 1e6:.0f} MB from PyPI "
        f"(mediapipe {VERSION}, {LICENCE}), once, into {folder.folder}"
    )
    _make(folder.folder)
    if importlib.util.find_spec("pip") is None:
        raise ModelError(f"this Python has no pip to get the models with. {_by_hand(folder)}")
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.folder) as temporary:
        _run_pip(folder, temporary)
        wheels = sorted(pathlib.Path(temporary).glob("*.whl"))
        if len(wheels) != 1:
            raise ModelError(f"pip brought {[w.name for w in wheels]}, expected one wheel of mediapipe")
        unpack(wheels[0], folder)


def _run_pip(folder: ModelFolder, destination: str) -> None:
    command = [sys.executable, "-m", "pip", "download", *_WHEEL, "--dest", destination]
    command += ["--disable-pip-version-check", "--no-input", "--retries=2"]
    try:
        # pip's own bar, where somebody looks; its errors are ours to tell.
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__ if sys.__stderr__ and sys.__stderr__.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=MAX_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"pip did not end within {MAX_SECONDS} s. {_by_hand(folder)}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"]
        raise ModelError(f"pip could not get the models ({errors[-1].strip()[:300]}). {_by_hand(folder)}")


def _by_hand(folder: ModelFolder) -> str:
    return (
        f"On a machine that is online run 'pip download {' '.join(_WHEEL)}', bring the .whl file here and run "
        f"'dinar models get --from FILE.whl', or put its .tflite files into {folder.folder} yourself"
    )


def get_from(source: str | os.PathLike, folder: ModelFolder) -> list[str]:
    """Take the networks from a wheel, an npm package (.tgz) or a folder with .tflite files. Returns the names of
    those that were found. Raises ModelError."""
    source = pathlib.Path(source)
    if not source.exists():
        raise ModelError(f"{source}: no such file or folder")
    _make(folder.folder)
    if not source.is_dir():
        return unpack(source, folder)
    found = []
    for m in MODELS.values():
        if (path := source / m.file).is_file():
            _keep(_bounded(path, m), m, folder, path)
            found.append(m.name)
    return _some(found, source)


def unpack(archive: pathlib.Path, folder: ModelFolder) -> list[str]:
    """Take the networks out of a wheel or a .tgz; only members of the expected names and sizes are read. Returns
    their names. Raises ModelError."""
    found = []
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as z:
                for member in z.infolist():
                    if (m := _of_file(member.filename)) and member.file_size == m.bytes:
                        _keep(z.read(member), m, folder, archive)
                        found.append(m.name)
        else:
            with tarfile.open(archive, "r:*") as t:
                for entry in t:
                    if (m := _of_file(entry.name)) and entry.isfile() and entry.size == m.bytes:
                        stream = t.extractfile(entry)
                        _keep(stream.read() if stream else b"", m, folder, archive)
                        found.append(m.name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError) as e:
        raise ModelError(
            f"{archive}: neither a wheel nor a .tgz that can be read ({e}); expected mediapipe {VERSION}'s wheel"
        ) from None
    return _some(found, archive)


def _some(found: list[str], source: pathlib.Path) -> list[str]:
    if not found:
        names = ", ".join(MODELS[name].file for name in REQUIRED)
        raise ModelError(f"{source}: holds none of the models; expected {names}")
    return found


def _of_file(member: str) -> ModelFile | None:
    name = member.rpartition("/")[2]
    return next((m for m in MODELS.values() if m.file == name), None)


def _bounded(path: pathlib.Path, m: ModelFile) -> bytes:
    with open(path, "rb") as f:
        return f.read(m.bytes + 1)


def _keep(data: bytes, m: ModelFile, folder: ModelFolder, source: pathlib.Path) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != m.sha256:
        raise ModelError(
            f"{source}: {m.file} is not the file that this version is made for: sha256 {digest}, expected {m.sha256}"
        )
    _write(folder.path(m.name), data)
    _write(folder.folder / "NOTICE", _NOTICE.encode())


def _write(path: pathlib.Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _make(folder: pathlib.Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise ModelError(
            f"{folder}: cannot be made ({e.strerror}); set DINAR_CACHE to a folder of yours"
        ) from None
