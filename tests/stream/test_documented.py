"""What docs/protocol.md says, checked with a codec of its own: bare sockets, struct, nothing of ours but the
server."""

import json
import struct
import threading
import time

import numpy as np
import pytest
import zmq

from dinar_live.runtime.stream import Limits, RenderedFrame, Server

HEADER = struct.Struct("<IHHIHHQQQQIIQ")
MAGIC = 0x4C524E44
HELLO, CAPS, RENDER, FRAME, SUPERSEDED, ERROR, BYE, TIME, DESCRIBE = range(1, 10)
JSON, CAMERA, AVATAR, FORMAT, RECT, ERROR_BLOCK = 1, 2, 8, 6, 21, 20
MALFORMED, VERSION, HELLO_REQUIRED, BAD_ID, CLIENTS, UNKNOWN_AVATAR = 1, 2, 4, 7, 8, 12


def block(type, format, payload):
    return struct.pack("<HHI", type, format, len(payload)) + payload + bytes(-len(payload) % 8)


def message(type, *blocks, id=0, at=0, version=1, magic=MAGIC, header_len=64, count=None):
    body = b"".join(blocks)
    count = len(blocks) if count is None else count
    return HEADER.pack(magic, version, type, 0, header_len, count, id, at, 0, 0, len(body), 0, 0) + body


def hello(**info):
    return message(HELLO, block(JSON, 1, json.dumps(info).encode()))


def camera(width=48, height=64):
    matrices = np.concatenate([np.diag([60, 60, 1]).ravel(), np.eye(4).ravel()]).astype("<f4")
    return block(CAMERA, 1, matrices.tobytes() + struct.pack("<HH", width, height))


def render(id, width=48, height=64, *more):
    return message(RENDER, camera(width, height), *more, id=id, at=1000 + id)


class Answer:
    """A message of the server, taken apart."""

    def __init__(self, data):
        magic, _, self.type, _, start, count, self.id, self.at, *_ = HEADER.unpack_from(data)
        assert magic == MAGIC and start == 64
        self.blocks = {}
        for _ in range(count):
            type, _, length = struct.unpack_from("<HHI", data, start)
            self.blocks[type] = data[start + 8 : start + 8 + length]
            start += 8 + length + -length % 8
        self.code = struct.unpack_from("<I", self.blocks[ERROR_BLOCK])[0] if self.type == ERROR else None

    @property
    def rect(self):
        return struct.unpack("<4H", self.blocks[RECT])


class Dealer:
    def __init__(self, endpoint, immediate=0):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, immediate)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.connect(endpoint)

    def say(self, *parts):
        assert self.socket.poll(5000, zmq.POLLOUT)
        self.socket.send_multipart(parts)

    def hear(self, seconds=5.0):
        """The next answer, None = there is none for so long."""
        return Answer(self.socket.recv()) if self.socket.poll(int(seconds * 1000)) else None

    def ask(self, *parts):
        self.say(*parts)
        answer = self.hear()
        assert answer is not None, "no answer"
        return answer

    def close(self):
        self.socket.disable_monitor()
        self.context.destroy(linger=0)


@pytest.fixture
def dealer_of():
    dealers = []

    def make(server, **more):
        dealers.append(Dealer(server.endpoint, **more))
        return dealers[-1]

    yield make
    for dealer in dealers:
        dealer.close()


@pytest.fixture
def dealer(server, dealer_of):
    return dealer_of(server)


# ---- rule 1: HELLO -----------------------------------------------------------------------------------------


class TestHello:
    @pytest.fixture
    def server(self, stub):
        with Server(stub, {}, avatars={"me": {}, "you": {}}, limits=Limits(max_clients=1)) as server:
            yield server

    def test_time_and_describe_need_none(self, dealer):
        assert dealer.ask(message(TIME, id=5)).type == TIME
        assert dealer.ask(message(DESCRIBE, block(AVATAR, 1, b"you"), id=6)).type == CAPS

    @pytest.mark.parametrize("bad", [hello(avatar="they"), message(HELLO)])
    def test_a_refused_one_makes_nobody_known(self, dealer, bad):
        refused = dealer.ask(bad)
        assert refused.code == (UNKNOWN_AVATAR if len(bad) > 64 else MALFORMED)
        assert dealer.ask(render(1)).code == HELLO_REQUIRED
        assert dealer.ask(hello()).type == CAPS and dealer.ask(render(1)).type == FRAME

    @pytest.mark.parametrize("bad", [hello(avatar="they"), message(HELLO)])
    def test_a_refused_one_changes_nothing_for_who_was_known(self, dealer, bad):
        assert dealer.ask(hello()).type == CAPS and dealer.ask(render(5)).type == FRAME
        assert dealer.ask(bad).type == ERROR
        assert dealer.ask(render(4)).code == BAD_ID and dealer.ask(render(6)).type == FRAME
        assert dealer.ask(hello()).type == CAPS and dealer.ask(render(1)).type == FRAME

    def test_a_full_server_makes_nobody_known(self, server, dealer, dealer_of):
        assert dealer.ask(hello()).type == CAPS
        second = dealer_of(server)
        assert second.ask(hello()).code == CLIENTS and second.ask(render(1)).code == HELLO_REQUIRED


# ---- rule 5: who is forgotten ------------------------------------------------------------------------------


class TestIdle:
    @pytest.fixture
    def server(self, stub):
        with Server(stub, {}, limits=Limits(idle_timeout=0.3)) as server:
            yield server
            if stub.gate is not None:
                stub.gate.set()

    @pytest.mark.parametrize("asked", [1, 3])
    def test_a_client_that_waits_for_its_picture_is_not_idle(self, server, stub, dealer, eventually, asked):
        """Also with one that waits behind it and one that was replaced; and once all is answered it is."""
        stub.gate = threading.Event()
        dealer.ask(hello())
        for id in range(1, asked + 1):
            dealer.say(render(id))
            eventually(lambda: stub.requests)
        time.sleep(1.5)  # five times the timeout, and two of the server's looks
        assert server.stats()["clients"] == 1
        stub.gate.set()
        answers = [dealer.hear() for _ in range(asked)]
        assert sorted((a.id, a.type) for a in answers) == [(1, FRAME), (2, SUPERSEDED), (3, FRAME)][:asked]
        eventually(lambda: server.stats()["clients"] == 0)
        assert dealer.ask(render(asked + 1)).code == HELLO_REQUIRED

    def test_a_refused_request_is_answered_too(self, server, stub, dealer, eventually):
        stub.failure = RuntimeError("no")
        dealer.ask(hello())
        assert dealer.ask(render(1)).type == ERROR and dealer.ask(render(1)).code == BAD_ID
        eventually(lambda: server.stats()["clients"] == 0)

    def test_one_that_has_left_owes_nothing_to_the_next(self, server, stub, dealer, eventually):
        """The answer to what a client asked for before its BYE does not count for what it asks afterwards."""
        stub.gate = threading.Event()
        dealer.ask(hello())
        dealer.say(render(1))
        eventually(lambda: stub.requests)
        dealer.say(message(BYE))
        dealer.ask(hello())
        stub.gate.set()
        dealer.say(render(1))
        assert dealer.hear().type == FRAME
        stub.gate = threading.Event()
        while dealer.hear(0.2) is not None:  # the other frame, if it came to the new client
            pass
        dealer.say(render(2))
        eventually(lambda: len(stub.requests) == 3)
        time.sleep(1.5)
        assert server.stats()["clients"] == 1


# ---- rule 6: the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("immediate", [0, 1])
def test_what_was_not_read_when_the_connection_ended(stub, dealer_of, immediate, eventually):
    server = Server(stub, {}).start()
    dealer = dealer_of(server, immediate=immediate)
    dealer.ask(hello())
    dealer.say(render(1))
    eventually(lambda: server.stats()["frames"] == 1)
    server.close()
    assert dealer.monitor.poll(5000), "the connection has not ended"
    time.sleep(0.2)
    unread = [dealer.hear(0.2) for _ in range(2)]
    assert [a and a.type for a in unread] == ([None, None] if immediate else [FRAME, BYE])


@pytest.mark.parametrize("immediate", [0, 1])
def test_who_reads_all_the_time_gets_the_last_frame_and_bye(stub, dealer_of, immediate, eventually):
    stub.gate = threading.Event()
    server = Server(stub, {}).start()
    dealer = dealer_of(server, immediate=immediate)
    dealer.ask(hello())
    dealer.say(render(1, 640, 640))
    eventually(lambda: stub.requests)
    closing = threading.Thread(target=server.close)
    closing.start()
    stub.gate.set()
    assert [dealer.hear().type for _ in range(2)] == [FRAME, BYE]
    closing.join(10)
    assert not closing.is_alive()


# ---- rule 7: what cannot be read ---------------------------------------------------------------------------

GOOD = render(7)


@pytest.mark.parametrize(
    ("bad", "code", "id"),
    [
        pytest.param(GOOD[:-8], MALFORMED, 7, id="cut short"),
        pytest.param(GOOD[:64], MALFORMED, 7, id="only the header"),
        pytest.param(GOOD + bytes(8), MALFORMED, 7, id="too long"),
        pytest.param(message(RENDER, camera(), id=7, at=1007, count=33), MALFORMED, 7, id="33 blocks"),
        pytest.param(message(RENDER, camera(), id=7, at=1007, count=2), MALFORMED, 7, id="a block too few"),
        pytest.param(
            message(RENDER, camera(), id=7, at=1007, header_len=60), MALFORMED, 7, id="header_len 60"
        ),
        pytest.param(
            message(RENDER, camera(), id=7, at=1007, header_len=68), MALFORMED, 7, id="header_len 68"
        ),
        pytest.param(message(99, id=7, at=1007) + b"x", MALFORMED, 7, id="of an unknown type"),
        pytest.param(GOOD[:63], MALFORMED, 0, id="63 bytes"),
        pytest.param(GOOD[:8], MALFORMED, 0, id="8 bytes"),
        pytest.param(b"", MALFORMED, 0, id="nothing"),
        pytest.param(bytes(200), MALFORMED, 0, id="zeros"),
        pytest.param(message(RENDER, camera(), id=7, magic=MAGIC + 1), MALFORMED, 0, id="magic"),
        pytest.param(message(ERROR, id=7, magic=MAGIC + 1), MALFORMED, 0, id="no ERROR of ours"),
        pytest.param(message(RENDER, camera(), id=7, version=2), VERSION, 0, id="version 2"),
        pytest.param(message(RENDER, camera(), id=7, version=2)[:-8], VERSION, 0, id="version 2, cut short"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_a_message_that_cannot_be_read_is_answered_once(server, dealer, bad, code, id, known):
    if known:
        dealer.ask(hello())
    answer = dealer.ask(bad)
    assert (answer.type, answer.code, answer.id, answer.at) == (ERROR, code, id, 1007 if id else 0)
    assert dealer.hear(0.05) is None and server.stats()["malformed"] == 1
    assert dealer.ask(hello()).type == CAPS and dealer.ask(render(8)).type == FRAME


def test_of_several_parts_the_first_counts(server, dealer):
    answer = dealer.ask(GOOD, GOOD)
    assert (answer.code, answer.id, answer.at) == (MALFORMED, 7, 1007)
    assert dealer.ask(b"", GOOD).id == 0 and dealer.hear(0.05) is None


@pytest.mark.parametrize(
    "error",
    [
        message(ERROR, id=7),
        message(ERROR, block(ERROR_BLOCK, 1, struct.pack("<I", 1)), id=7),
        message(ERROR, id=7) + b"x",
        message(ERROR, id=7)[:8],
        message(ERROR, id=7, version=2),
        message(ERROR, id=7, header_len=60),
    ],
)
def test_an_error_is_never_answered(server, dealer, error, eventually):
    dealer.say(error)
    eventually(lambda: server.stats()["malformed"] == 1)
    assert dealer.hear(0.1) is None


# ---- RECT --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "box", "margin", "rect"),
    [
        ((100, 80), (33, 17, 14, 30), 0, (32, 16, 16, 32)),
        ((100, 80), (32, 16, 16, 32), 0, (32, 16, 16, 32)),
        ((100, 80), (32, 16, 16, 32), 1, (16, 0, 48, 64)),  # a margin of 1 adds 16
        ((100, 80), (33, 17, 14, 30), 1, (32, 16, 16, 32)),  # or nothing
        ((100, 80), (97, 70, 3, 5), 0, (96, 64, 4, 16)),  # the view ends before the grid does
        ((100, 80), (90, 70, 5, 5), 65535, (0, 0, 100, 80)),
        ((100, 80), None, 0, (0, 0, 16, 16)),
        ((100, 80), None, 40, (0, 0, 16, 16)),
        ((10, 5), None, 0, (0, 0, 10, 5)),
        ((10, 5), (3, 3, 1, 1), 2, (0, 0, 10, 5)),
    ],
)
@pytest.mark.parametrize("background", [False, True])
def test_rect_lies_on_a_grid_of_16_pixels(dealer_of, size, box, margin, rect, background):
    """size, box: width and height, x and y first."""

    def draw(request):
        rgba = np.zeros((*request.cameras[0].size, 4), np.uint8)
        if box is not None:
            x, y, width, height = box
            rgba[y : y + height, x : x + width] = 255
        return RenderedFrame(rgba)

    form = struct.pack("<BBBBI3BBHHff", 2, 0, 0, 0, 2 * background, 1, 2, 3, 0, margin, 0, 0, 0)
    with Server(draw, {}) as server:
        dealer = dealer_of(server)
        dealer.ask(hello())
        frame = dealer.ask(render(1, *size, block(FORMAT, 2, form)))
        assert frame.type == FRAME and frame.rect == rect
        assert len(frame.blocks[16]) == 4 * rect[2] * rect[3]
