"""Sony mocopi: the skeleton and the frames that its phone app sends over UDP, or a computer's app.

27 bones with local transforms; the axes are ours, and no bone is turned in the T-pose, so that nothing is calibrated.
The seven bones of its trunk and two of its neck become our three and one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX as _J

from .calibrated_humanoid import CalibratedHumanoid
from .humanoid import ROOT
from .mocopi_format import BONES, Malformed, MocopiFrame, MocopiSkeleton, read
from .sample_buffer import PacketOrder
from .source import SourceState
from .source_form import OpenOptions, SourceForm, port_of
from .udp import FRAME_COST, UdpSource
from .world_bones import local_bones, parents_of

PORT = 12351
# Where each bone hangs until the app has sent its skeleton: root, trunk and neck up to the head (10), then left arm,
# right arm, left leg and right leg.
PARENTS = (-1, *range(10), 7, 11, 12, 13, 7, 15, 16, 17, 0, 19, 20, 21, 0, 23, 24, 25)
# mocopi's bone -> our joint. The trunk's cuts lie where they leave each of our three joints about a third of it.
JOINTS = {0: "pelvis", 2: "spine1", 4: "spine2", 6: "spine3", 8: "neck", 10: "head"} | {
    first + i: f"{side}_{name}"
    for first, side, names in (
        (11, "left", ("collar", "shoulder", "elbow", "wrist")),
        (15, "right", ("collar", "shoulder", "elbow", "wrist")),
        (19, "left", ("hip", "knee", "ankle", "foot")),
        (23, "right", ("hip", "knee", "ankle", "foot")),
    )
    for i, name in enumerate(names)
}
# The last bone that turns with each of our joints: those between belong to the joint below them.
_TURNED_BY = {"spine1": 2, "spine2": 4, "spine3": 7, "neck": 9}
_REORDER_FRAMES = 120
_SILENCE = 1.0
_NO_FACE = np.zeros(0, np.float32)
_Numbers = list[float]


class MocopiSource(UdpSource):
    """A mocopi performer. calibration, calibrate_after: see CalibratedHumanoid."""

    def __init__(
        self,
        port: int = PORT,
        host: str = "127.0.0.1",
        *,
        calibration: str = "auto",
        calibrate_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(host, port, clock=clock)
        self._humanoid = CalibratedHumanoid(self.samples, calibration, calibrate_after, ())
        ours = [_J[name] for name in JOINTS.values()]
        self._ours = np.array(ours)
        self._turning = np.array([_TURNED_BY.get(name, bone) for bone, name in JOINTS.items()])
        self._placing = np.array(list(JOINTS))
        self._bits = sum(1 << j for j in ours)
        self._above = parents_of(self._bits)
        self._new_peer()

    def _new_peer(self) -> None:
        self._parents = PARENTS
        self._positions = np.zeros((BONES, 3))
        self._rotations = np.tile((0.0, 0.0, 0.0, 1.0), (BONES, 1))
        self._order = PacketOrder(_REORDER_FRAMES)
        self._humanoid.reset()

    def calibrate(self) -> None:
        self._humanoid.calibrate()

    @property
    def state(self) -> SourceState:
        hint = self._humanoid.hint
        if self.samples.clock() - self._peer_s > _SILENCE:
            reach = " (--bind 0.0.0.0 hears a phone)" if self.host == "127.0.0.1" else ""
            hint = (
                f"waiting for packets on UDP {self.host}:{self.port}{reach}: in the mocopi app choose sending to a computer, format "
                f"mocopi (UDP), this machine's address and port {self.port}"
            )
        return self.samples.state(
            f"mocopi on UDP {self.host}:{self.port}",
            calibration=self._humanoid.calibration,
            peer=self.peer,
            hint=hint,
        )

    def _datagram(self, data: bytes, now: float, port: int) -> tuple[int, bool]:
        try:
            content = read(data)
        except Malformed:
            self.samples.drop("no mocopi")
            return FRAME_COST, False
        if isinstance(content, MocopiSkeleton):
            self._parents = content.parents
            return FRAME_COST, True
        if verdict := self._order.check(content.number, now):
            self.samples.drop(verdict)
            return FRAME_COST, True
        self._take(content)
        local = local_bones(*self._world(), self._above)
        self._humanoid.frame(*local, self._bits, _NO_FACE, now)
        return 2 * FRAME_COST, True

    def _take(self, frame: MocopiFrame) -> None:
        """Bones that did not come, or with impossible numbers, keep what they had."""
        self.samples.drop("values", frame.bad)
        came = np.isfinite(frame.rotations[:, 0])
        self._rotations[came] = frame.rotations[came]
        self._positions[came] = frame.positions[came]

    def _world(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions [55,3] and quaternions [55,4] (w, x, y, z) of our joints in the world."""
        local = rot.unit(self._rotations[:, [3, 0, 1, 2]]).tolist()
        offsets = self._positions.tolist()
        turned: list[_Numbers] = []
        placed: list[_Numbers] = []
        for j, p in enumerate(self._parents):  # numpy takes ten times as long for so little
            if p < 0:
                turned.append(local[j])
                placed.append(offsets[j])
            else:
                turned.append(_product(turned[p], local[j]))
                placed.append(
                    [a + b for a, b in zip(placed[p], _rotated(turned[p], offsets[j]), strict=True)]
                )
        positions, rotations = np.zeros((ROOT, 3)), np.tile((1.0, 0.0, 0.0, 0.0), (ROOT, 1))
        positions[self._ours] = np.array(placed)[self._placing]
        rotations[self._ours] = np.array(turned)[self._turning]
        return positions, rotations


def _product(a: _Numbers, b: _Numbers) -> _Numbers:
    """Of two quaternions (w, x, y, z)."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]


def _rotated(quaternion: _Numbers, vector: _Numbers) -> _Numbers:
    """A vector turned by a unit quaternion."""
    w, x, y, z = quaternion
    a, b, c = vector
    tx, ty, tz = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return [a + w * tx + y * tz - z * ty, b + w * ty + z * tx - x * tz, c + w * tz + x * ty - y * tx]


def _open(port: str, options: OpenOptions) -> MocopiSource:
    return MocopiSource(
        port_of(port, PORT),
        options.bind,
        calibration=options.calibration,
        calibrate_after=options.calibrate_after,
    )


FORM = SourceForm("mocopi", "mocopi[:PORT]", _open, calibrates=True)
