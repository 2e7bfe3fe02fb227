"""A performer with a humanoid skeleton: when and how it is calibrated, and its frames as samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES
from dinar_live.runtime.motion.authored import idle_motion

from .humanoid import LEG, ROOT, Humanoid, Stillness
from .sample_buffer import SampleBuffer
from .source import Skeleton

CALIBRATIONS = ("auto", "t-pose", "none")
# joints of each arm, the upper arm first
_ARMS = [
    [JOINT_INDEX[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist")]
    + [j for j, name in enumerate(JOINT_NAMES) if name.startswith(side) and name[-1] in "123"]
    for side in ("left", "right")
]
_HIPLESS_FRAMES, _HIPLESS_SECONDS = 3, 0.1  # without hips, after which they are not waited for
_NO_POSITIONS = (
    "no bone positions come: the bones are taken as unturned in the T-pose; if arms or legs point wrong, calibrate "
    "in a T-pose (Enter, or --calibrate); --no-calibration if they are right"
)
_OWN_AXES = (
    "no bone positions come, and the bones seem to have axes of their own: calibrate in a T-pose (stand in it and "
    "press Enter, or start with --calibrate-after 5), or --no-calibration"
)


class CalibratedHumanoid:
    """Calibrates a humanoid and puts its frames into `samples`. All but `calibrate` and the properties belong
    to the source's thread.

    calibration: "auto" = by the bones' positions: none if all bones are unturned in the rest pose, else a
    T-pose; "t-pose" = always; "none" = never. calibrate_after: seconds after the first frame at which the
    pose, whatever it is, is taken as the T-pose; without it the performer stands in a T-pose for one second.
    A performer without hips, such as a head and a face, stands where it is: the other bones are as our idle
    motion has them. Raises MotionError.
    """

    def __init__(
        self, samples: SampleBuffer, calibration: str, calibrate_after: float | None, names: Sequence[str]
    ):
        if calibration not in CALIBRATIONS:
            raise MotionError(f"calibration: got {calibration!r}, expected one of {', '.join(CALIBRATIONS)}")
        if calibrate_after is not None and not 0 <= calibrate_after <= 600:
            raise MotionError(f"calibrate_after: got {calibrate_after:g}, expected 0 to 600 seconds")
        self._samples = samples
        self._calibration = calibration
        self._after = calibrate_after
        self._names = tuple(names)
        self._stance = _Stance()
        self.reset()

    def reset(self) -> None:
        """Somebody else performs."""
        self._humanoid: Humanoid | None = None
        self._rests = False  # calibrated by the rest pose
        self._bones = 0  # that it was calibrated with, as bits
        self._stillness = Stillness()
        self._began = False
        self._first_s = 0.0
        self._waiting = self._asked = False
        self._faults: list[str] = []
        self._own_axes = False  # cannot be measured, for there are no positions
        self._blind = False  # no positions
        self._hipless: _Hipless | None = None
        self._hipless_frames = 0

    def calibrate(self) -> None:
        """Take the next frame as the T-pose. From any thread."""
        self._asked = True

    @property
    def calibration(self) -> str:
        """ "none", "waiting" or "done", as in SourceState."""
        if self._waiting:
            return "waiting"
        return "none" if self._humanoid is None or self._rests else "done"

    @property
    def hint(self) -> str:
        """What the performer must do for the calibration or should know, "" if nothing."""
        if self._hipless_frames:
            return (
                "no Hips come: only the head, the face and what else is sent move; switch sending of the whole body on in "
                "your app, if it has one"
            )
        if not self._waiting:
            return _NO_POSITIONS if self._rests and self._blind and self._calibration == "auto" else ""
        if self._after is not None:
            left = self._after - (self._samples.clock() - self._first_s)
            return f"stand in a T-pose: calibrates in {max(left, 0.0):.0f} s"
        if self._own_axes:
            return _OWN_AXES
        faults = f" ({self._faults[0]})" if self._faults else ""
        return f"stand in a T-pose and keep still for a second{faults}"

    def frame(
        self, positions: np.ndarray, rotations: np.ndarray, bones: int, expression: np.ndarray, now: float
    ) -> None:
        """A frame. positions: f64[56,3] local, rotations: f64[56,4] local (see Humanoid); bones: those that
        were ever sent, as bits."""
        if not bones & 1:
            self._without_hips(rotations, bones, expression, now)
            return
        if self._hipless_frames:  # they come after all
            asked = self._asked
            self.reset()
            self._asked = asked
        if not self._began:
            self._began = True
            self._first_s = now
            self._waiting = self._calibration != "none"
        if self._asked or self._waiting or self._humanoid is None or (self._rests and self._bones != bones):
            self._calibrate(positions, rotations, bones, now)
        if self._humanoid is not None and not self._waiting:
            body, pelvis = self._humanoid.retarget(positions, rotations)
            for arm in _ARMS:
                if not bones >> arm[0] & 1:  # never sent: it hangs
                    body[arm] = self._stance.body[arm]
            self._samples.put(body, pelvis, expression, time_s=now, now=now)

    def _without_hips(self, rotations: np.ndarray, bones: int, expression: np.ndarray, now: float) -> None:
        """A frame of a performer who sends no hips."""
        self._hipless_frames += 1
        if self._hipless_frames == 1:
            self._first_s = now
        if self._hipless_frames < _HIPLESS_FRAMES or now - self._first_s < _HIPLESS_SECONDS:
            return
        if self._hipless is None:
            self._hipless = _Hipless(self._stance)
            self._samples.set_skeleton(Skeleton(LEG, self._names))
        if self._asked:
            self._hipless.look_ahead(rotations)
            self._asked = False
        body, pelvis = self._hipless.pose(rotations, bones)
        self._samples.put(body, pelvis, expression, time_s=now, now=now)

    def _calibrate(self, positions: np.ndarray, rotations: np.ndarray, bones: int, now: float) -> None:
        humanoid = Humanoid(positions, rotations, np.array([bones >> j & 1 for j in range(ROOT)], bool))
        still = self._stillness.check(rotations, now)
        self._blind = humanoid.blind
        if self._asked or (self._waiting and self._after is not None and now - self._first_s >= self._after):
            self._adopt(humanoid.use_pose(), bones, rests=False)
        elif not self._waiting:
            self._adopt(humanoid.use_rest(), bones, rests=True)
        elif self._after is not None:
            return
        elif self._calibration == "auto" and humanoid.normalised:
            # the first frame may have come in part: wait for all limbs, but not for ever
            if humanoid.blind and humanoid.twisted:
                self._own_axes = True
            elif humanoid.positioned or now - self._first_s >= self._stillness.seconds:
                self._adopt(humanoid.use_rest(), bones, rests=True)
        elif still >= self._stillness.seconds:
            self._faults = humanoid.t_pose_faults()
            if not self._faults:
                self._adopt(humanoid.use_pose(), bones, rests=False)

    def _adopt(self, humanoid: Humanoid, bones: int, rests: bool) -> None:
        known = self._humanoid is not None and rests and self._rests
        self._humanoid = humanoid
        self._rests = rests
        self._bones = bones
        self._waiting = False
        self._asked = False
        self._faults = []
        if not known:  # more bones of the same performer need no new fit
            self._samples.set_skeleton(Skeleton(LEG, self._names))


class _Stance:
    """Our idle stance, for bones that are not sent. body: f32[55,3]; pelvis: f32[3] for legs as long as LEG."""

    def __init__(self):
        idle = idle_motion()
        self.body, pelvis, _ = idle.sample(0.0)
        self.pelvis = pelvis * (LEG / idle.leg_length)


class _Hipless:
    """A performer without hips: the stance with the bones that come."""

    def __init__(self, stance: _Stance):
        self._stance = stance
        self._ahead = np.tile((1.0, 0.0, 0.0, 0.0), (ROOT, 1))

    def look_ahead(self, rotations: np.ndarray) -> None:
        """The bones as they are now are unturned ones."""
        self._ahead = rot.conjugate(rotations[:ROOT])

    def pose(self, rotations: np.ndarray, bones: int) -> tuple[np.ndarray, np.ndarray]:
        """body [55,3] and pelvis [3] of a frame with these bones."""
        body = self._stance.body.copy()
        sent = [j for j in range(1, ROOT) if bones >> j & 1]
        body[sent] = rot.quaternion_to_axis_angle(rot.multiply(self._ahead[sent], rotations[sent]))
        return body, self._stance.pelvis
