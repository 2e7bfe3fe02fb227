"""The ways in which other people write rotations and places, told apart by the numbers themselves.

Every reader of SMPL-like files ends in axis-angle, radians and metres. Some files hold matrices, degrees or
centimetres under the same names; what can be told for certain is converted with a note, what looks like
another form is refused by its name.
"""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot

# A knee or elbow of a fit in radians stays below half a turn, the odd fit below a whole one.
_WHOLE_TURN = 2 * np.pi * 1.05
_TOO_FAR = 1.2 * np.pi
# The fastest runner does 12 m/s.
_FASTEST = 15.0
# Height of a pelvis over the origin of a file in centimetres: from crouching to the mean SMPL-X body's offset
# on top of a tall one's.
_CENTIMETRES = (40.0, 200.0)
_COLUMNS = (63, 66, 69, 72, 156, 162, 165)  # of axis-angle
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}


class FormError(ValueError):
    """Numbers in a form that is not read, named."""


def axis_angle(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Rotations of a clip as f64[N,3J], and whether they came as matrices.

    values: [N,J,3], [N,3J] or [N,3] axis-angle; [N,J,3,3], [N,3,3] or [N,9J] matrices. Raises FormError for
    matrices that do not turn, quaternions and six numbers a joint.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if values.ndim == 4 and values.shape[1:3] == (1, 1):  # [N,1,1,3]: one joint, wrapped twice
        values = values.reshape(n, -1)
    if values.ndim >= 3 and values.shape[-2:] == (3, 3):
        matrices = values.reshape(-1, 3, 3)
        if _turning(matrices):
            return _from_matrices(matrices, n), True
        if values.ndim > 3:
            raise FormError(
                f"shape {list(values.shape)} looks like rotation matrices, but they do not turn "
                "(expected orthonormal ones with determinant 1)"
            )
    if values.ndim > 3:
        raise FormError(f"got shape {list(values.shape)}, expected axis-angle [frames, joints, 3]")
    if values.ndim == 3 and values.shape[2] == 9 and _turning(values.reshape(-1, 3, 3)):
        return _from_matrices(values.reshape(-1, 3, 3), n), True
    if values.ndim == 3 and values.shape[2] == 4 and _unit(values):
        raise FormError(
            f"shape {list(values.shape)} looks like quaternions, whose order cannot be told; "
            "expected axis-angle [frames, joints, 3] or matrices [frames, joints, 3, 3]"
        )
    if values.ndim == 3 and values.shape[2] == 6:
        raise FormError(
            f"shape {list(values.shape)} looks like the 6D form of rotations, whose order cannot be told; "
            "expected axis-angle [frames, joints, 3] or matrices [frames, joints, 3, 3]"
        )
    flat = values.reshape(n, int(np.prod(values.shape[1:]))) if values.ndim > 1 else values
    if flat.ndim == 2 and flat.shape[1] and flat.shape[1] % 9 == 0 and _turning(flat.reshape(-1, 3, 3)):
        return _from_matrices(flat.reshape(-1, 3, 3), n), True
    return flat, False


def is_batch(archive, key: str | None) -> bool:
    """Whether the clip of these poses is the one of a batch: [1, frames, columns]. archive: named arrays with
    `header`."""
    try:
        shape = archive.header(key)[0] if key else ()
    except ValueError:  # told when it is read
        return False
    return len(shape) == 3 and shape[0] == 1 < shape[1] and shape[2] in _COLUMNS


def looks_like(columns: int) -> str:
    """What poses of so many columns probably are, if no axis-angle has so many; "" if nobody knows."""
    for numbers, name in ((4, "quaternions"), (6, "the 6D form of rotations")):
        if columns % numbers == 0 and columns // numbers in (21, 22, 24, 52, 55):
            return (
                f"got {columns} columns, which looks like {columns // numbers} joints as {name}, whose order cannot "
                "be told; expected axis-angle (3 numbers a joint) or matrices (9)"
            )
    return ""


def _turning(matrices: np.ndarray) -> bool:
    """Whether all of [M,3,3] are rotations, to the precision of a half float."""
    if not len(matrices):
        return False
    product = matrices @ matrices.transpose(0, 2, 1)
    return bool(np.abs(product - np.eye(3)).max() < 0.05 and (np.linalg.det(matrices) > 0.5).all())


def _unit(values: np.ndarray) -> bool:
    return values.size > 0 and float(np.abs(np.linalg.norm(values, axis=-1) - 1).max()) < 0.02


def _from_matrices(matrices: np.ndarray, frames: int) -> np.ndarray:
    return rot.quaternion_to_axis_angle(rot.matrix_to_quaternion(matrices)).reshape(frames, -1)


def radians(body: np.ndarray) -> tuple[np.ndarray, str]:
    """Axis-angle [N,J,3], root first, in radians, and a note where they came in degrees.

    Joints other than the root do not turn all the way round, so angles of many radians are degrees. Raises
    FormError for angles that are neither.
    """
    angles = np.linalg.norm(body, axis=-1)
    inner = angles[:, 1:22].max(axis=1, initial=0.0) if angles.shape[1] > 1 else np.zeros(len(body))
    most = float(angles.max(initial=0.0))
    share = float((inner > _WHOLE_TURN).mean())
    odd = float((inner > _TOO_FAR).mean())
    if share > 0.1 or (odd > 0.3 and most > 2 * _WHOLE_TURN):
        if most > 725:
            raise FormError(
                f"angles of up to {most:.0f}, which are neither radians nor degrees; expected axis-angle in radians"
            )
        return np.radians(body), f"angles of up to {most:.0f}: they are in degrees, and read as such"
    if odd > 0.3:
        return body, (
            f"joints turn by up to {float(inner.max()):.1f} radians in most frames, further than a body does: "
            "check the pose; axis-angle in radians is expected"
        )
    return body, ""


def metre_scale(places: np.ndarray, fps: float, up: str) -> tuple[float, str]:
    """What the places [N,3] of a body are multiplied with to become metres, and a note if that is not 1.

    Told by the height over the origin along `up` ("y", "z" or "-y") and by speeds that nobody runs.
    """
    height = float(np.median(places[:, 2 if up == "z" else 1])) * (-1 if up == "-y" else 1)
    step = np.diff(places, axis=0)
    speed = np.linalg.norm(step, axis=1) * fps
    jitter = np.linalg.norm(np.diff(step, axis=0), axis=1) * fps
    smooth = len(jitter) > 2 and float(np.median(jitter)) < 0.5 * float(np.median(speed))
    pace = float(np.median(speed)) if smooth else 0.0
    for name in ("mm", "cm"):
        scale = UNITS[name]
        low, high = (x * 0.01 / scale for x in _CENTIMETRES)
        stands = up != "-y" and low <= height <= high
        if (stands or pace > _FASTEST * 0.01 / scale) and pace * scale <= _FASTEST:
            said = f"the body is {height:.0f} high" if stands else f"the body moves by {pace:.0f} a second"
            return scale, f"{said}: places are taken as {'centimetres' if name == 'cm' else 'millimetres'}"
    return 1.0, ""
