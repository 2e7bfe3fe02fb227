"""A video becomes a motion (skipped where the networks are not there)."""

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.follow import PersonFollower
from dinar_live.runtime.vision.video import VideoFile
from dinar_live.runtime.vision.video_motion import motion_of, watch


@pytest.fixture(scope="module")
def watched(walk, landmarker):
    with VideoFile(walk) as video:
        return watch(video, PersonFollower(landmarker))


def test_a_sliding_person(watched):
    motion = motion_of(watched, smooth_hz=None)
    assert motion.frames == 9 and motion.fps == pytest.approx(15)
    # The person is 300 pixels tall and 1.7 m: 4 pixels are 2.3 cm.
    step = np.diff(motion.pelvis[:, 0])
    assert step.mean() == pytest.approx(0.023, rel=0.25) and np.abs(step - step.mean()).max() < 0.015
    assert np.abs(np.diff(motion.body[:, :22], axis=0)).max() < 0.3  # nothing else moves
    assert motion.pelvis[0, [0, 2]] == pytest.approx(0) and motion.pelvis[0, 1] == pytest.approx(
        0.9, abs=0.12
    )


def test_frames_without_anybody_are_filled_in(watched):
    gaps = [None if i in (0, 3, 4, 8) else p for i, p in enumerate(watched.landmarks)]
    motion = motion_of(replace(watched, landmarks=tuple(gaps)), smooth_hz=None)
    assert motion.frames == 9 and np.isfinite(motion.body).all()
    assert np.array_equal(motion.body[0], motion.body[1]) and np.array_equal(
        motion.pelvis[8], motion.pelvis[7]
    )
    assert motion.pelvis[3] == pytest.approx((2 * motion.pelvis[2] + motion.pelvis[5]) / 3, abs=1e-6)
    assert any("nobody in 4 of 9 frames" in note for note in motion.notes)


def test_nobody(landmarker, write_video, tmp_path):
    grey = np.full((120, 120, 3), 128, np.uint8)
    with (
        VideoFile(write_video(tmp_path / "grey.avi", [grey] * 2)) as video,
        pytest.raises(InputError, match="no person found in 2 frames"),
    ):
        watch(video, PersonFollower(landmarker))
