"""What docs/protocol.md and docs/vr.md say about cameras, sizes and where a pose stands, checked over a bare
socket with struct: nothing of ours but the server and its avatar."""

import json
import math
import struct

import numpy as np
import pytest
import zmq

from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.service.avatar_service import AvatarService
from dinar_live.runtime.stream import Server

HEADER = struct.Struct("<IHHIHHQQQQIIQ")
HELLO, CAPS, RENDER, FRAME, ERROR = 1, 2, 3, 4, 6
CAMERA, POSE, TRANSL, FORMAT = 2, 3, 4, 6
MALFORMED, REFUSED = 1, 9
WIDTH, HEIGHT = 64, 96
FOV = math.pi / 2 - 0.001
FRONT = (0.0, 0.0, 5.0)  # where the eye is: on y = 0, so that the middle row sees what lies on y = 0


def block(type, format, payload):
    return struct.pack("<HHI", type, format, len(payload)) + payload + bytes(-len(payload) % 8)


def message(type, *blocks, id=0):
    body = b"".join(blocks)
    return HEADER.pack(0x4C524E44, 1, type, 0, 64, len(blocks), id, 0, 0, 0, len(body), 0, 0) + body


def matrices(K=None, world_to_camera=None, size=(WIDTH, HEIGHT)):
    """A camera in front of the person that sees from y = -2 to 2, unless told otherwise."""
    if K is None:
        f = FRONT[2] * size[1] / 4
        K = [[f, 0, size[0] / 2], [0, f, size[1] / 2], [0, 0, 1]]
    if world_to_camera is None:
        world_to_camera = front()
    values = np.concatenate([np.ravel(K), np.ravel(world_to_camera)]).astype("<f4")
    return block(CAMERA, 1, values.tobytes() + struct.pack("<HH", *size))


def front():
    matrix = np.diag([1.0, -1.0, -1.0, 1.0])
    matrix[:3, 3] = 0, 0, FRONT[2]
    return matrix


def openxr(position=FRONT, orientation=(0, 0, 0, 1), fov=(-0.3, 0.3, 0.4, -0.4), size=(WIDTH, HEIGHT)):
    values = np.array([*position, *orientation, *fov], "<f4")
    return block(CAMERA, 2, values.tobytes() + struct.pack("<HH", *size))


def changed(matrix, place, value):
    matrix = np.array(matrix, float)
    matrix[place] = value
    return matrix


@pytest.fixture(scope="module")
def talk():
    """ask(*blocks) -> (type, {block type: its payload}) of the answer; ask.caps: what the server says."""
    texture = np.full((16, 16, 3), 200, np.uint8)
    avatar = Avatar("tiny", Body.open().rig(), {"texture": RendererSpec(texture)})
    context = zmq.Context()
    with (
        AvatarService(avatar, size=(HEIGHT, WIDTH), threads=1) as service,
        Server(service.render, service.capabilities(), ready=service.ready) as server,
    ):
        socket = context.socket(zmq.DEALER)
        socket.connect(server.endpoint)
        count = 0

        def ask(*blocks, type=RENDER):
            nonlocal count
            count += 1
            socket.send(message(type, *blocks, id=count))
            assert socket.poll(20_000), "no answer"
            data = socket.recv()
            fields, at, found = HEADER.unpack_from(data), 64, {}
            for _ in range(fields[5]):
                kind, _, length = struct.unpack_from("<HHI", data, at)
                found[kind] = data[at + 8 : at + 8 + length]
                at += 8 + length + -length % 8
            return fields[2], found

        kind, found = ask(block(1, 1, b"{}"), type=HELLO)
        assert kind == CAPS
        count, ask.caps = 0, json.loads(found[1])
        yield ask
    context.destroy(linger=0)


def pose(transl=None):
    blocks = [block(POSE, 1, bytes(660))]
    return blocks if transl is None else [*blocks, block(TRANSL, 1, struct.pack("<3f", *transl))]


RIGHT_K = [[100, 0, 32], [0, 100, 48], [0, 0, 1]]
TURNED = np.eye(4)
TURNED[:3, :3] *= 1.0004  # R R^T is off by 0.0008


@pytest.mark.parametrize(
    "camera",
    [
        pytest.param(matrices(size=(4096, 16)), id="4096 wide"),
        pytest.param(matrices(size=(16, 4096)), id="4096 high"),
        pytest.param(matrices(world_to_camera=TURNED), id="a rotation that is off by less than 0.001"),
        pytest.param(matrices(world_to_camera=changed(front(), (0, 3), 10_000)), id="10,000"),
        pytest.param(openxr(orientation=(0, 0, 0, 1.009)), id="a quaternion of 1.009"),
        pytest.param(openxr(orientation=(0, 0, 0, 0.991)), id="a quaternion of 0.991"),
        pytest.param(openxr(fov=(-0.1, FOV - 1e-6, 0.1, -0.1)), id="an angle just below the limit"),
        pytest.param(openxr(fov=(0.1, 0.3, 0.4, 0.2)), id="all of it to one side"),
    ],
)
def test_cameras_that_are_taken(talk, camera):
    kind, found = talk(camera, *pose())
    assert kind == FRAME, found[20][4:]


@pytest.mark.parametrize(
    ("camera", "code", "field"),
    [
        pytest.param(matrices(size=(4097, 16)), REFUSED, "size", id="4097 wide"),
        pytest.param(matrices(size=(16, 4097)), REFUSED, "size", id="4097 high"),
        pytest.param(matrices(changed(RIGHT_K, (0, 0), 0)), REFUSED, "K", id="fx 0"),
        pytest.param(matrices(changed(RIGHT_K, (1, 1), -100)), REFUSED, "K", id="fy negative"),
        pytest.param(matrices(changed(RIGHT_K, (2, 0), 1e-6)), REFUSED, "K", id="K's last row"),
        pytest.param(matrices(changed(RIGHT_K, (2, 2), 2)), REFUSED, "K", id="K scaled"),
        pytest.param(matrices(changed(RIGHT_K, (0, 2), 1.1e6)), MALFORMED, "CAMERA", id="beyond 1,000,000"),
        pytest.param(
            matrices(world_to_camera=changed(front(), (1, 3), 10_001)),
            REFUSED,
            "world_to_camera",
            id="beyond 10,000",
        ),
        pytest.param(
            matrices(world_to_camera=changed(front(), (3, 3), 2)), REFUSED, "world_to_camera", id="last row"
        ),
        pytest.param(
            matrices(world_to_camera=np.diag([1.001, 1.001, 1.001, 1])),
            REFUSED,
            "world_to_camera",
            id="a rotation that is off by more than 0.001",
        ),
        pytest.param(
            matrices(world_to_camera=np.diag([1, 1, -1, 1])), REFUSED, "world_to_camera", id="a mirror"
        ),
        pytest.param(openxr(orientation=(0, 0, 0, 1.011)), REFUSED, "orientation", id="a long quaternion"),
        pytest.param(openxr(orientation=(0, 0, 0, 0)), REFUSED, "orientation", id="no quaternion"),
        pytest.param(openxr(fov=(-0.1, FOV + 1e-6, 0.1, -0.1)), REFUSED, "fov", id="beyond the angle"),
        pytest.param(openxr(fov=(0.3, 0.3, 0.1, -0.1)), REFUSED, "fov", id="left is right"),
        pytest.param(openxr(fov=(-0.3, 0.3, -0.4, 0.4)), REFUSED, "fov", id="upside down"),
        pytest.param(openxr(position=(0, 10_001, 0)), REFUSED, "world_to_camera", id="a far eye"),
        pytest.param(openxr(fov=(0, 1e-6, 0.1, -0.1)), REFUSED, "K", id="too narrow"),
    ],
)
def test_cameras_that_are_refused(talk, camera, code, field):
    kind, found = talk(camera, *pose())
    assert kind == ERROR and struct.unpack_from("<I", found[20])[0] == code
    assert field in found[20][4:].decode()


def rows_and_columns(talk, *blocks):
    """(first, last) row and the mean column that the person covers."""
    form = block(FORMAT, 1, struct.pack("<BBBBI", 2, 0, 0, 0, 0))
    kind, found = talk(matrices(size=(400, 400)), *blocks, form)
    assert kind == FRAME
    x, y, width, height = struct.unpack("<4H", found[21])
    alpha = np.frombuffer(found[16], np.uint8).reshape(height, width, 4)[..., 3]
    rows, columns = np.nonzero(alpha > 128)
    return y + rows.min(), y + rows.max(), x + columns.mean()


def test_where_a_pose_stands(talk):
    """100 pixels a metre where the person is, y = 0 in the middle. Soles and hands are a little nearer or
    farther than the axis, so on y = 0 they are exact, and elsewhere to within some pixels."""
    pelvis, (low, _) = talk.caps["rest_joints"][0], talk.caps["body_extent"]
    soles = pelvis[1] + low
    _, bottom, _ = rows_and_columns(talk, *pose())
    assert abs(bottom - (200 - 100 * soles)) < 6 and bottom > 300
    top, bottom, middle = rows_and_columns(talk, *pose((-pelvis[0], -soles, -pelvis[2])))
    assert abs(bottom - 200) <= 1 and 20 < top < 60 and abs(middle - 200) < 3


def test_the_demo_avatar_stands_where_the_page_says():
    rig = Avatar.demo().rig
    assert round(float(rig.model.vertices[:, 1].min()), 2) == -1.31
