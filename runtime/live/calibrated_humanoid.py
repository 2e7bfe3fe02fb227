"""A performer with a humanoid skeleton: when and how it is calibrated, and its frames as samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dinar_live.runtime.core.errors import MotionError

from .humanoid import LEG, ROOT, Humanoid, Stillness
from .sample_buffer import SampleBuffer
from .source import Skeleton

CALIBRATIONS = ("auto", "t-pose", "none")


class CalibratedHumanoid:
    """Calibrates a humanoid and puts its frames into `samples`. All but `calibrate` and the properties belong
    to the source's thread.

    calibration: "auto" = by the bones' positions: none if all bones are unturned in the rest pose, else a
    T-pose; "t-pose" = always; "none" = never. calibrate_after: seconds after the first frame at which the
    pose, whatever it is, is taken as the T-pose; without it the performer stands in a T-pose for one second.
    Raises MotionError.
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
        """What the performer must do for the calibration, "" if nothing."""
        if not self._waiting:
            return ""
        if self._after is not None:
            left = self._after - (self._samples.clock() - self._first_s)
            return f"stand in a T-pose: calibrates in {max(left, 0.0):.0f} s"
        faults = f" ({self._faults[0]})" if self._faults else ""
        return f"stand in a T-pose and keep still for a second{faults}"

    def frame(
        self, positions: np.ndarray, rotations: np.ndarray, bones: int, expression: np.ndarray, now: float
    ) -> None:
        """A frame. positions: f64[56,3] local, rotations: f64[56,4] local (see Humanoid); bones: those that
        were ever sent, as bits."""
        if not self._began:
            if not bones & 1:  # nothing can stand without hips
                return
            self._began = True
            self._first_s = now
            self._waiting = self._calibration != "none"
        if self._asked or self._waiting or self._humanoid is None or (self._rests and self._bones != bones):
            self._calibrate(positions, rotations, bones, now)
        if self._humanoid is not None and not self._waiting:
            self._samples.put(*self._humanoid.retarget(positions, rotations), expression, time_s=now, now=now)

    def _calibrate(self, positions: np.ndarray, rotations: np.ndarray, bones: int, now: float) -> None:
        humanoid = Humanoid(positions, rotations, np.array([bones >> j & 1 for j in range(ROOT)], bool))
        still = self._stillness.check(rotations, now)
        if self._asked or (self._waiting and self._after is not None and now - self._first_s >= self._after):
            self._adopt(humanoid.use_pose(), bones, rests=False)
        elif not self._waiting:
            self._adopt(humanoid.use_rest(), bones, rests=True)
        elif self._after is not None:
            return
        elif self._calibration == "auto" and humanoid.normalised:
            # the first frame may have come in part: wait for all limbs, but not for ever
            if humanoid.positioned or now - self._first_s >= self._stillness.seconds:
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
