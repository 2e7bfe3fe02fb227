"""Body tracking of a headset's browser (WebXR Body Tracking, Quest): the page reads the joints and sends them.

The axes of the joints are not relied upon: the specification has -Z along the bone, browsers pass on what the system
below has, which is another. So the performer is calibrated in a T-pose, as one of Rokoko is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from dinar_live.runtime.core.errors import InputError, ProtocolError
from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.stream.protocol.wire import ONLY_FORMAT, WireError, pack, unpack_blocks, unpack_header

from .calibrated_humanoid import CalibratedHumanoid
from .humanoid import ROOT
from .sample_buffer import PacketOrder, SampleBuffer
from .source import Sample, Skeleton, Source, SourceState
from .source_form import OpenOptions, SourceForm, WrongForm
from .world_bones import local_bones, parents_of
from .zmq_pose import floats

MESSAGE, JOINTS_BLOCK = 34, 52
_PEER_SECONDS = 2.0  # a page that was silent for so long may be replaced by another
_MAX_POSITION = 1e3
_MAX_RATE = 130.0  # samples a second; a headset has 72 to 120
_REORDER_MESSAGES = 256
_NO_FACE = np.zeros(0, np.float32)


def _joints() -> dict[str, int]:
    """XRBodyJoint -> SMPL-X joint, in the order of the message: ours. What SMPL-X has no joint for is left out."""
    trunk = ("hips", "spine-lower", "spine-middle", "chest", "neck", "head")
    ours = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
    names = dict(zip(ours, trunk, strict=True))
    limbs = {
        "hip": "upper-leg",
        "knee": "lower-leg",
        "ankle": "foot-ankle",
        "foot": "foot-ball",
        "collar": "shoulder",
        "shoulder": "arm-upper",
        "elbow": "arm-lower",
        "wrist": "hand-wrist",
    }
    fingers = {"index": "index", "middle": "middle", "pinky": "little", "ring": "ring"}
    parts = ("phalanx-proximal", "phalanx-intermediate", "phalanx-distal")
    for side in ("left", "right"):
        names |= {f"{side}_{joint}": f"{side}-{theirs}" for joint, theirs in limbs.items()}
        for finger, theirs in fingers.items():
            names |= {
                f"{side}_{finger}{i}": f"{side}-hand-{theirs}-{part}" for i, part in enumerate(parts, 1)
            }
        for i, part in enumerate(("metacarpal", "phalanx-proximal", "phalanx-distal"), 1):
            names[f"{side}_thumb{i}"] = f"{side}-hand-thumb-{part}"
    return {names[joint]: j for joint, j in JOINT_INDEX.items() if joint in names}


JOINTS = _joints()
"""XRBodyJoint -> SMPL-X joint, in the order of the message's rows."""
_OURS = np.array(list(JOINTS.values()))


def encode_xr_body(joints, *, sequence: int, session: int = 0, time_ns: int = 0) -> bytearray:
    """The message of a frame. joints: f32[52,7], in the order of JOINTS, position x, y, z in metres and quaternion
    x, y, z, w in a reference space (y up, right-handed); NaN where a joint is not known. Raises InputError."""
    values = np.ascontiguousarray(joints, "<f4")
    if values.shape != (len(JOINTS), 7):
        raise InputError(f"joints: got shape {list(values.shape)}, expected [{len(JOINTS)}, 7]")
    blocks = [(JOINTS_BLOCK, ONLY_FORMAT, values)]
    return pack(MESSAGE, blocks, id=sequence, client_time_ns=time_ns, session=session)


class WebXrSource(Source):
    """The wearer of a headset, through the page. The gateway gives it the pages' messages (`feed`); the page that
    began is heard until it is silent for 2 s. calibration, calibrate_after: see CalibratedHumanoid."""

    kind = "WebXR"
    message_type = MESSAGE

    def __init__(
        self,
        *,
        calibration: str = "auto",
        calibrate_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.samples = SampleBuffer(clock)
        # "auto" would look for bones that are unturned in the T-pose, which no headset has
        wanted = "t-pose" if calibration == "auto" else calibration
        self._humanoid = CalibratedHumanoid(self.samples, wanted, calibrate_after, ())
        self._order = PacketOrder(_REORDER_MESSAGES)
        self._peer = ""
        self._peer_s = -float("inf")
        self._session: int | None = None
        self._allowance, self._charged_s = _MAX_RATE, 0.0
        self._new_peer()

    def _new_peer(self) -> None:
        self._world = np.zeros((ROOT, 7))
        self._world[:, 6] = 1.0
        self._bones = 0
        self._parents = np.zeros(ROOT, int)
        self._order.reset()
        self._humanoid.reset()

    def start(self) -> None:
        """Nothing to open: the page's gateway listens."""

    def close(self) -> None:
        """Nothing to close."""

    def read(self) -> Sample | None:
        return self.samples.newest

    @property
    def skeleton(self) -> Skeleton | None:
        return self.samples.skeleton

    def calibrate(self) -> None:
        self._humanoid.calibrate()

    @property
    def state(self) -> SourceState:
        hint = self._humanoid.hint
        if self.samples.clock() - self._peer_s > 1.0:
            hint = "waiting for a headset: open this server's page in its browser and choose 'Drive with this headset'"
        return self.samples.state(
            "WebXR through the page", calibration=self._humanoid.calibration, peer=self._peer, hint=hint
        )

    def feed(self, data: bytes, peer: str = "") -> None:
        """Use one message of the page `peer`. From one thread; never raises for what is in it."""
        now = self.samples.clock()
        self.samples.heard(now)
        if peer != self._peer or now - self._peer_s > _PEER_SECONDS:
            if now - self._peer_s <= _PEER_SECONDS:
                self.samples.drop("another page")
                return
            self._peer = peer
            self._new_peer()
        self._allowance = min(self._allowance + (now - self._charged_s) * _MAX_RATE, _MAX_RATE)
        self._charged_s = now
        if self._allowance < 1:
            self.samples.drop("flood")
            return
        self._allowance -= 1
        try:
            header = unpack_header(data)
            if header.type != MESSAGE:
                raise WireError(f"message type {header.type}, expected {MESSAGE}")
            found = {b.type: b for b in unpack_blocks(data, header) if b.format == ONLY_FORMAT}
            if JOINTS_BLOCK not in found:
                raise WireError("no block of joints")
            values = floats(found, JOINTS_BLOCK, 7 * len(JOINTS)).reshape(-1, 7).astype(np.float64)
        except ProtocolError:
            self.samples.drop("malformed")
            return
        self._peer_s = now
        if header.session != self._session:  # the page was loaded again
            self._session = header.session
            self._order.reset()
        if verdict := self._order.check(header.id, now):
            self.samples.drop(verdict)
            return
        self._take(values)
        self._humanoid.frame(
            *local_bones(self._world[:, :3], self._world[:, [6, 3, 4, 5]], self._parents),
            self._bones,
            _NO_FACE,
            now,
        )

    def _take(self, values: np.ndarray) -> None:
        """Joints [52,7] into self._world; those that are not known, or impossible, keep the last values."""
        known = ~np.isnan(values).any(axis=1)
        size = np.einsum("ji,ji->j", values[:, 3:], values[:, 3:])
        with np.errstate(invalid="ignore"):
            fine = known & (np.abs(values[:, :3]).max(axis=1) < _MAX_POSITION) & (size > 0.25) & (size < 4)
        if (known & ~fine).any():
            self.samples.drop("values", int((known & ~fine).sum()))
        ours = _OURS[fine]
        self._world[ours, :3] = values[fine, :3]
        self._world[ours, 3:] = values[fine, 3:] / np.sqrt(size[fine])[:, None]
        bones = self._bones
        for j in ours.tolist():
            bones |= 1 << j
        if bones != self._bones:
            self._bones = bones
            self._parents = parents_of(bones)


def _open(rest: str, options: OpenOptions) -> WebXrSource:
    if rest:
        raise WrongForm("webxr alone: the headset comes through the page, whose port is --page-port")
    return WebXrSource(calibration=options.calibration, calibrate_after=options.calibrate_after)


FORM = SourceForm("webxr", "webxr", _open, calibrates=True)
