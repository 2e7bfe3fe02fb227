"""Rokoko Studio's live stream: JSON v3 over UDP, plain or as an LZ4 frame. Rotations and positions are in the
world, in Unity's axes.

Its bones have axes of their own, so the performer is calibrated in a T-pose like one of VRM 1.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

import numpy as np

from . import faces
from .calibrated_humanoid import CalibratedHumanoid
from .humanoid import BONES, ROOT, from_unity
from .sample_buffer import PacketOrder
from .source import SourceState
from .source_form import OpenOptions, SourceForm, port_of
from .udp import FRAME_COST, UdpSource
from .world_bones import local_bones, parents_of

PORT = 14043
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_MAX_JSON = 1 << 20  # bytes unpacked; a frame with gloves and face has about 20 kB
_REORDER_SECONDS = 2.0
_MAX_POSITION = 1e3
_ACTOR_SECONDS = 1.0  # how long an actor is waited for that was there
_OLD_BONES = frozenset(("hip", "hips", "spine", "chest", "neck", "head"))  # in lower case
_OWN_NAMES = {"hip": "hips", "upleg": "upperleg", "leg": "lowerleg", "toe": "toes"}


def _joints() -> dict[str, int]:
    """Rokoko's names -> SMPL-X joints."""
    joints = {name.decode(): j for name, j in BONES.items()}
    out = {"hip": joints["hips"], **{n: joints[n] for n in ("spine", "chest", "neck", "head")}}
    for side in ("left", "right"):
        for name in ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpLeg", "Leg", "Foot", "Toe"):
            out[side + name] = joints[side + _OWN_NAMES.get(name.lower(), name.lower())]
        for finger in ("Thumb", "Index", "Middle", "Ring", "Little"):
            for theirs, ours in (("Proximal", "proximal"), ("Medial", "intermediate"), ("Distal", "distal")):
                out[f"{side}{finger}{theirs}"] = joints[f"{side}{finger.lower()}{ours}"]
    return out


JOINTS = _joints()


class RokokoSource(UdpSource):
    """The first actor with a body of a Rokoko Studio scene. calibration, calibrate_after: see CalibratedHumanoid."""

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
        self._humanoid = CalibratedHumanoid(self.samples, calibration, calibrate_after, faces.NAMES)
        self._old_s = -math.inf  # when JSON v2 came
        self._new_peer()

    def _new_peer(self) -> None:
        self._world = np.zeros((ROOT, 7))  # Unity's, as received
        self._world[:, 6] = 1.0
        self._bones = 0
        self._parents = np.zeros(ROOT, int)
        self._order = PacketOrder(_REORDER_SECONDS)
        self._packed = False  # LZ4 comes, but cannot be read
        self._actor = ""  # whose body is used
        self._actor_s = self._bodiless_s = -math.inf
        self._humanoid.reset()

    def calibrate(self) -> None:
        self._humanoid.calibrate()

    @property
    def state(self) -> SourceState:
        now = self.samples.clock()
        if self._packed:
            hint = "the stream is packed with LZ4: pip install lz4, or switch the compression off in Studio"
        elif now - self._old_s < 1.0:
            hint = "this is JSON v2 (or v2.5), which is not read: in Studio's live streaming choose JSON v3 for the custom target"
        elif now - self._peer_s > 1.0:
            hint = (
                f"waiting for packets on UDP {self.host}:{self.port}: in Studio's live streaming add a custom target with JSON v3, "
                f"this machine's address and port {self.port}"
            )
        elif now - self._bodiless_s < 1.0:
            hint = "no actor of the scene has a body: give one a suit in Studio, or wait until it is tracked"
        else:
            hint = self._humanoid.hint
        return self.samples.state(
            f"Rokoko on UDP {self.host}:{self.port}",
            calibration=self._humanoid.calibration,
            peer=self.peer,
            hint=hint,
        )

    def _datagram(self, data: bytes, now: float, port: int) -> tuple[int, bool]:
        if data.startswith(_LZ4_MAGIC):
            data = self._unpacked(data)
        try:
            content = json.loads(data)
            if _is_old(content):
                self._old_s = now
                raise ValueError
            scene = content["scene"]
            stamp = float(scene["timestamp"])
            actors = [a for a in scene["actors"] if isinstance(a, dict) and isinstance(a.get("body"), dict)]
            if not (actors and math.isfinite(stamp)):
                raise ValueError
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
            self.samples.drop("no JSON v3")
            return FRAME_COST, False
        if verdict := self._order.check(stamp, now):
            self.samples.drop(verdict)
            return FRAME_COST, True
        actor = self._choose([a for a in actors if _has_body(a)], now)
        if actor is None:
            return FRAME_COST, True
        self._take(actor["body"])
        expression = faces.expression(self._faces(actor.get("face")))
        local = local_bones(*from_unity(self._world), self._parents)
        self._humanoid.frame(*local, self._bones, expression, now)
        return 2 * FRAME_COST, True

    def _choose(self, actors: list[dict], now: float) -> dict | None:
        """Whose body is used: the first that has one, and the same one until it has been without for a second."""
        for actor in actors:
            if str(actor.get("name", "")) == self._actor:
                self._actor_s = now
                return actor
        if now - self._actor_s < _ACTOR_SECONDS:
            return None
        if not actors:
            self._bodiless_s = now
            return None
        if self._bones:  # somebody else performs
            self._bones = 0
            self._humanoid.reset()
        self._actor = str(actors[0].get("name", ""))
        self._actor_s = now
        return actors[0]

    def _faces(self, face) -> list[tuple[bytes, float]]:
        """Known expressions of a face, 0..100 there."""
        out = []
        if isinstance(face, dict):
            for text, value in face.items():
                name = text.encode("utf-8", "replace")
                key = faces.known(name)
                if key is None:
                    if isinstance(value, int | float):  # the face's id and other texts are no expressions
                        self.samples.unknown("", name)
                elif isinstance(value, int | float) and -1e5 < value < 1e5:
                    out.append((key, value / 100))
        return out

    def _unpacked(self, data: bytes) -> bytes:
        try:
            import lz4.frame
        except ImportError:
            self._packed = True
            return b""
        try:
            return lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=_MAX_JSON)
        except (RuntimeError, EOFError):
            return b""

    def _take(self, body: dict) -> None:
        """Values of known bones into self._world; impossible ones are dropped, which keeps the ones
        before."""
        bones = self._bones
        for name, joint in JOINTS.items():
            bone = body.get(name)
            if bone is None:
                continue
            try:
                p, r = bone["position"], bone["rotation"]
                values = [float(v) for v in (p["x"], p["y"], p["z"], r["x"], r["y"], r["z"], r["w"])]
            except (ValueError, TypeError, LookupError, OverflowError):
                self.samples.drop("values")
                continue
            size = sum(v * v for v in values[3:])
            if not (0.25 < size < 4 and max(map(abs, values[:3])) < _MAX_POSITION):  # NaN fails too
                self.samples.drop("values")
                continue
            self._world[joint] = values
            self._bones |= 1 << joint
        if bones != self._bones:
            self._parents = parents_of(self._bones)


def _has_body(actor: dict) -> bool:
    """Whether a v3 actor has bones."""
    return any(isinstance(actor["body"].get(name), dict) for name in JOINTS)


def _is_old(content) -> bool:
    """Whether this is Studio's older JSON, whatever version it names: its actors have no `body`, but the bones
    themselves, or there is no `scene` around them."""
    if not isinstance(content, dict):
        return False
    scene = content.get("scene")
    actors = (scene if isinstance(scene, dict) else content).get("actors")
    listed = [a for a in actors if isinstance(a, dict)] if isinstance(actors, list) else []
    bare = [a for a in listed if not isinstance(a.get("body"), dict)]
    if str(content.get("version", "")).lstrip("vV ").startswith(("1", "2")):
        return isinstance(actors, list)
    if not isinstance(scene, dict):
        return isinstance(actors, list)
    return bool(bare) and len(bare) == len(listed) and any(_OLD_BONES & {k.lower() for k in a} for a in bare)


def _open(port: str, options: OpenOptions) -> RokokoSource:
    return RokokoSource(
        port_of(port, PORT),
        options.bind,
        calibration=options.calibration,
        calibrate_after=options.calibrate_after,
    )


FORM = SourceForm("rokoko", "rokoko[:PORT]", _open, calibrates=True)
