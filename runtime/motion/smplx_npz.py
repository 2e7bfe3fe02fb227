"""SMPL-X family .npz files: AMASS (SMPL-X stageii and SMPL+H), BEAT2, and plain ones with the same keys.
Formats: docs/motion.md."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.formats.npz import Npz

from .hand_model import HandModel
from .motion import Motion
from .smpl_numbers import NumbersReader, Options
from .upward import TO_Y_UP

MAX_BYTES = 2 << 30


def load_smplx_npz(
    path,
    *,
    up: str = "auto",
    hands: str = "auto",
    hands_mean=None,
    fps: float | None = None,
    pelvis_rest=None,
    leg_length: float | None = None,
    hands_model=None,
) -> Motion:
    """Read a clip of SMPL, SMPL+H or SMPL-X poses.

    up: the file's upward axis, "y", "z", "-y" (camera) or "auto" (docs/motion.md says how it is found).
    hands: "flat" = rotations are absolute, "mean" = relative to the model's mean hand, "auto" = mean for
        BEAT2, else flat.
    hands_mean: (left [45], right [45]) axis-angle to add for "mean"; without it the open body's relaxed hand
        stands in.
    fps: for files that do not say. pelvis_rest: [3] rest pelvis of the file's body; leg_length: its thigh +
    shank, metres. hands_model: path of your own SMPL-X .npz, or of a MANO pair (`hand_model`), for hands in
    PCA coefficients and for the mean hand. Raises MotionError, naming file and key.
    """
    path = Path(path)
    model = None if hands_model is None else HandModel.load(hands_model)
    for name, value, allowed in (("up", up, ("auto", *TO_Y_UP)), ("hands", hands, ("auto", "flat", "mean"))):
        if value not in allowed:
            raise MotionError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}")
    with _open(path) as archive:
        return NumbersReader(
            path, archive, Options(up, hands, hands_mean, fps, pelvis_rest, leg_length, model)
        ).motion()


@contextlib.contextmanager
def _open(path: Path):
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MotionError(f"{path}: {size / 2**30:.1f} GiB, expected at most {MAX_BYTES / 2**30:.0f} GiB")
        with Npz(path, MAX_BYTES) as archive:
            yield archive
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None
    except ValueError as e:
        raise MotionError(f"{path}: {e}") from None
