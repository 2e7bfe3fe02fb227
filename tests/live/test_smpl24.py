"""SMPL-24 samples -> SMPL-X, against numbers worked out by hand or with SciPy's rotations."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.skeleton import PARENTS
from dinar_live.runtime.live.smpl24 import Smpl24Source, encode_smpl24, smpl24_pose

# SMPL's own parents of the 24 joints; 22 and 23 are the hands.
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
AWAY = Rotation.from_euler("y", 180, degrees=True)
IDENTITY = np.tile((0.0, 0.0, 0.0, 1.0), (24, 1))


def world_of(body):
    """World rotations of bone frames (xyzw) for SMPL's local rotations [24]."""
    world = []
    for j, p in enumerate(SMPL_PARENTS):
        world.append(body[j] if p < 0 else world[p] * body[j])
    return np.array([(w * AWAY.inv()).as_quat() for w in world])


def test_facing_away_from_the_world_is_a_half_turn():
    """OpenXR's T-pose looks along -z with all bone frames equal; SMPL's looks along +z."""
    body = smpl24_pose(IDENTITY)
    assert np.abs(np.abs(body[0]) - (0, math.pi, 0)).max() < 1e-6 and not body[1:].any()


def test_one_elbow_by_hand():
    """Left forearm pointing ahead: ahead is OpenXR's -z, left its -x; about y by -90 degrees from left to
    ahead, there and in SMPL."""
    rotations = IDENTITY.copy()
    half = math.sqrt(0.5)
    rotations[[18, 20, 22]] = 0, -half, 0, half
    body = smpl24_pose(rotations)
    np.testing.assert_allclose(body[18], (0, -math.pi / 2, 0), atol=1e-6)
    assert not np.delete(body, (0, 18), axis=0).any()
    # bent forward about x: right is -x for SMPL's body and +x for OpenXR's, so the sign turns
    rotations = IDENTITY.copy()
    rotations[[3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]] = -math.sin(0.2), 0, 0, math.cos(0.2)
    np.testing.assert_allclose(smpl24_pose(rotations)[3], (0.4, 0, 0), atol=1e-6)


def test_random_poses_against_scipy(degrees):
    local = Rotation.from_rotvec(np.random.default_rng(3).uniform(-1.5, 1.5, (24, 3)))
    body = smpl24_pose(world_of(local))
    assert degrees(body[:22], local.as_rotvec()[:22]).max() < 1e-3
    assert not body[22:].any()  # the hands' rotations must not land in the jaw and an eye
    assert tuple(PARENTS[:22]) == SMPL_PARENTS[:22]


def test_joints_that_are_not_valid_hold_their_last_rotation(degrees):
    rng = np.random.default_rng(4)
    first, second = (Rotation.from_rotvec(rng.uniform(-1, 1, (24, 3))) for _ in range(2))
    last = smpl24_pose(world_of(first))
    valid = np.ones(24, bool)
    valid[4] = False  # left knee: its own rotation and its child's are unknown
    body = smpl24_pose(world_of(second), valid, last)
    held = [4, 7]
    others = [j for j in range(22) if j not in held]
    assert (
        degrees(body[held], last[held]).max() < 1e-3
        and degrees(body[others], second.as_rotvec()[others]).max() < 1e-3
    )
    assert np.array_equal(smpl24_pose(np.zeros((24, 4)), None, last), last)


def test_messages_reach_the_source(clock):
    source = Smpl24Source("tcp://127.0.0.1:5999", clock=clock)
    positions = np.zeros((24, 3))
    positions[[1, 4, 7], 1] = 0.9, 0.5, 0.05
    positions[[2, 5, 8], 1] = 0.9, 0.5, 0.05
    positions[0] = 0.1, 1.0, -0.3
    data = encode_smpl24(positions, IDENTITY, sequence=1, session=7, time_ns=2_500_000_000)
    assert len(data) == 64 + 8 + 672 + 8 + 8
    source.feed(bytes(data))
    sample = source.read()
    assert sample.time_s == 2.5 and source.skeleton.leg_length == pytest.approx(0.85)
    np.testing.assert_allclose(sample.pelvis, positions[0], atol=1e-6)
    valid = np.ones(24, bool)
    valid[0] = False
    lost = positions.copy()
    lost[0] = np.nan
    clock.now += 0.01
    source.feed(
        bytes(data[:-8]) + bytes(4) + bytes(4)
    )  # not valid at all: everything holds; a repeated number too
    assert source.state.drops == {"duplicate": 1}
    values = bytearray(encode_smpl24(positions, IDENTITY, valid, sequence=2, session=7))
    values[72:76] = b"\0\0\xc0\x7f"  # NaN where the pelvis would be
    source.feed(bytes(values))
    np.testing.assert_allclose(source.read().pelvis, positions[0], atol=1e-6)
    assert source.read().sequence == 2


def test_damaged_messages_are_counted():
    source = Smpl24Source("tcp://127.0.0.1:5999")
    good = bytes(encode_smpl24(np.zeros((24, 3)), IDENTITY, sequence=1))
    for n, data in enumerate(
        (b"", good[:-1], good + b"x", b"X" + good[1:], good[:6] + b"\3" + good[7:], bytes(700)), 1
    ):
        source.feed(data)
        assert source.state.dropped == n and source.read() is None
    nan = bytearray(good)
    nan[72 : 72 + 672] = np.full(168, np.nan, "<f4").tobytes()
    source.feed(bytes(nan))
    assert np.isfinite(source.read().body).all()


def test_shapes_are_checked():
    with pytest.raises(InputError, match="rotations"):
        smpl24_pose(np.zeros((22, 4)))
    with pytest.raises(InputError, match="valid"):
        encode_smpl24(np.zeros((24, 3)), IDENTITY, np.ones(3), sequence=1)
