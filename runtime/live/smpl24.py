"""SMPL-24 body tracking: 24 joints with poses in the world, as XR_BD_body_tracking (PICO), CloudXR and Isaac
Teleop give them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.skeleton import PARENTS
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.motion import reference_body as ref
from dinar_live.runtime.stream.protocol.wire import Block, Header, WireError, pack

from .source import Skeleton
from .source_form import OpenOptions, SourceForm, WrongForm
from .zmq_pose import ZmqSource, floats

JOINTS = 24
# Joints 0 to 21 are SMPL-X's; 22 and 23 are the hands, where SMPL-X has jaw and left eye, and move nothing of
# their own.
USED = 22
MESSAGE, SAMPLES, VALID = 33, 50, 51
_PARENTS = np.array(PARENTS[:USED])
_LEGS = ((1, 4, 7), (2, 5, 8))
_NO_FACE = np.zeros(0, np.float32)
_IDENTITY = np.array((1.0, 0.0, 0.0, 0.0))


def smpl24_pose(rotations, valid=None, last=None) -> np.ndarray:
    """World rotations of the 24 joints -> body f32[55,3] axis-angle in SMPL-X order.

    rotations: [24,4] quaternions (x, y, z, w) in OpenXR's world (right-handed, y up) of bone frames that have
    x right, y up and z back in the T-pose, so that SMPL's rotation is R Ry(180). valid: [24] bool. last:
    f32[55,3], which keeps its local rotation where a joint or its parent is not valid (default: zero). Raises
    InputError.
    """
    q = checked("rotations", rotations, (JOINTS, 4), 4.0).astype(np.float64)[:USED, [3, 0, 1, 2]]
    length = np.sqrt(np.einsum("ni,ni->n", q, q))
    good = length > 0.5
    if valid is not None:
        good &= np.asarray(valid, bool)[:USED]
    q = np.where(good[:, None], q / np.where(good, length, 1.0)[:, None], _IDENTITY)
    local = rot.multiply(rot.conjugate(q[_PARENTS]), q) * (1.0, -1.0, 1.0, -1.0)  # Ry(180) on both sides
    local[0] = rot.multiply(q[0], (0.0, 0.0, 1.0, 0.0))
    body = np.zeros((len(PARENTS), 3), np.float32) if last is None else np.array(last, np.float32)
    known = good & good[_PARENTS]
    known[0] = good[0]
    body[:USED][known] = rot.quaternion_to_axis_angle(local)[known]
    return body


def encode_smpl24(
    positions, rotations, valid=None, *, sequence: int, session: int = 0, time_ns: int = 0
) -> bytearray:
    """A message for `dinar live smpl24:ENDPOINT`.

    positions: [24,3] metres, rotations: [24,4] (x, y, z, w), both as for `smpl24_pose`; valid: [24] bool
        (default all). Raises InputError.
    """
    samples = np.concatenate(
        [
            checked("positions", positions, (JOINTS, 3), 1e4),
            checked("rotations", rotations, (JOINTS, 4), 4.0),
        ],
        axis=1,
    )
    mask = (1 << JOINTS) - 1
    if valid is not None:
        if np.shape(valid) != (JOINTS,):
            raise InputError(f"valid: got shape {list(np.shape(valid))}, expected [{JOINTS}]")
        mask = sum(1 << i for i, v in enumerate(valid) if v)
    blocks = [(SAMPLES, 1, np.ascontiguousarray(samples, "<f4")), (VALID, 1, mask.to_bytes(4, "little"))]
    return pack(MESSAGE, blocks, id=sequence, client_time_ns=time_ns, session=session)


class Smpl24Source(ZmqSource):
    """Body tracking samples from a ZeroMQ publisher. Joints that are not valid hold their last rotation, a
    lost pelvis its last place."""

    kind = "SMPL-24"
    message_type = MESSAGE

    def __init__(self, endpoint: str, *, clock: Callable[[], float] = time.monotonic):
        super().__init__(endpoint, clock=clock)
        self._pelvis = np.zeros(3)
        self._last: np.ndarray | None = None
        self._measured = False  # whether the skeleton's leg length is the performer's

    def _use(self, header: Header, blocks: Sequence[Block], now: float) -> None:
        found = {b.type: b for b in blocks if b.format == 1}
        if SAMPLES not in found:
            raise WireError("no block of joint samples")
        values = floats(found, SAMPLES, 7 * JOINTS).reshape(JOINTS, 7)
        mask = (1 << JOINTS) - 1
        if VALID in found:
            if len(found[VALID].data) != 4:
                raise WireError("VALID: expected 4 bytes")
            mask = int.from_bytes(found[VALID].data, "little")
        valid = np.array([mask >> j & 1 for j in range(JOINTS)], bool)
        fine = np.isfinite(values).all(axis=1) & (np.abs(np.nan_to_num(values)).max(axis=1) < 1e3)
        self.samples.drop("values", int((valid & ~fine).sum()))
        valid &= fine
        self._last = smpl24_pose(np.where(valid[:, None], values[:, 3:].clip(-4, 4), 0.0), valid, self._last)
        if valid[0]:
            self._pelvis = values[0, :3]
        self._measure(values[:, :3].astype(np.float64), valid)
        self.samples.put(self._last, self._pelvis, _NO_FACE, time_s=header.client_time_ns / 1e9, now=now)

    def _measure(self, positions: np.ndarray, valid: np.ndarray) -> None:
        """Leg length from the first sample in which a leg is seen whole; the mean body's until then."""
        if self._measured:
            return
        legs = [
            np.linalg.norm(positions[a] - positions[b]) + np.linalg.norm(positions[b] - positions[c])
            for a, b, c in _LEGS
            if valid[[a, b, c]].all()
        ]
        leg = float(np.mean(legs)) if legs else 0.0
        if 0.3 < leg < 1.5:
            self._measured = True
        elif self.samples.skeleton is not None:
            return
        else:
            leg = ref.SMPL_LEG
        self.samples.set_skeleton(Skeleton(leg))


def _open(endpoint: str, options: OpenOptions) -> Smpl24Source:
    if not endpoint:
        raise WrongForm
    return Smpl24Source(endpoint)


FORM = SourceForm("smpl24", "smpl24:tcp://HOST:PORT", _open)
