"""RENDERER and RENDERED on the wire, what a server makes of them, and its spare time."""

import struct
import threading

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError, RemoteError
from dinar_live.runtime.stream import Client, RenderedFrame, RenderRequest, Server
from dinar_live.runtime.stream.protocol.messages import (
    CameraView,
    EncodedView,
    FrameMessage,
    Plane,
    Rect,
    Rendered,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode
from dinar_live.runtime.stream.protocol.wire import BLOCK, BlockType, WireError, unpack_blocks, unpack_header

VIEW = CameraView(np.eye(3, dtype=np.float32), np.eye(4, dtype=np.float32), 4, 2)


def frame(rendered):
    view = EncodedView(VIEW, Rect(0, 0, 4, 2), Plane(2, bytes(32)))
    return FrameMessage(3, (view,), {"render": 1.0}, rendered=rendered)


@pytest.mark.parametrize("name", [None, "", "lite", "é" * 32])
def test_a_name_in_a_request(name):
    data = bytes(encode(RenderRequest(1, (VIEW,), renderer=name)))
    assert decode(data).renderer == name
    blocks = [b.type for b in unpack_blocks(data, unpack_header(data))]
    assert (BlockType.RENDERER in blocks) == (name is not None)


@pytest.mark.parametrize("rendered", [None, Rendered("texture"), Rendered("é" * 32, 0.5)])
def test_what_made_a_frame(rendered):
    assert decode(bytes(encode(frame(rendered)))).rendered == rendered


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "é" * 33])
def test_names_that_no_receiver_would_take(name):
    with pytest.raises(InputError, match="renderer"):
        encode(RenderRequest(1, (VIEW,), renderer=name))


def changed(message, type, payload, format=1):
    """The message with another payload in its block of a type, of the same padded length."""
    data = bytearray(encode(message))
    block = next(b for b in unpack_blocks(data, unpack_header(data)) if b.type == type)
    at, length = block.offset, len(block.data)
    assert (len(payload) + 7) // 8 == (length + 7) // 8
    BLOCK.pack_into(data, at - BLOCK.size, type, format, len(payload))
    data[at : at + (length + 7) // 8 * 8] = payload + bytes(-len(payload) % 8)
    return bytes(data)


@pytest.mark.parametrize(
    "payload, says",
    [(b"ab\xff\xfe", "UTF-8"), (b"a\nbc", "cannot be printed")],
)
def test_hostile_names(payload, says):
    with pytest.raises(WireError, match=f"RENDERER.*{says}"):
        decode(changed(RenderRequest(1, (VIEW,), renderer="lite"), BlockType.RENDERER, payload))
    with pytest.raises(WireError, match=f"RENDERED.*{says}"):
        decode(changed(frame(Rendered("lite")), BlockType.RENDERED, struct.pack("<f", 1) + payload))


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.5, float("nan"), float("inf")])
def test_scales_that_cannot_be(scale):
    with pytest.raises(WireError, match="RENDERED: a scale of"):
        decode(changed(frame(Rendered("lite")), BlockType.RENDERED, struct.pack("<f", scale) + b"lite"))


def test_short_and_unknown_ones():
    with pytest.raises(WireError, match="RENDERED: 3 bytes"):
        decode(changed(frame(Rendered("")), BlockType.RENDERED, b"abc"))
    for message, type in (
        (RenderRequest(1, (VIEW,), renderer="lite"), BlockType.RENDERER),
        (frame(Rendered("")), BlockType.RENDERED),
    ):
        with pytest.raises(WireError, match=f"{type.name}: encoding 2 is not known"):
            decode(changed(message, type, bytes(4) if type == BlockType.RENDERED else b"lite", format=2))


def test_a_reader_that_does_not_know_the_blocks_takes_the_rest():
    """As old servers and clients do: an unknown type is skipped."""
    for message, type, field in (
        (RenderRequest(1, (VIEW,), renderer="lite"), BlockType.RENDERER, "renderer"),
        (frame(Rendered("lite", 0.5)), BlockType.RENDERED, "rendered"),
    ):
        data = bytearray(encode(message))
        block = next(b for b in unpack_blocks(data, unpack_header(data)) if b.type == type)
        struct.pack_into("<H", data, block.offset - BLOCK.size, 999)
        assert getattr(decode(bytes(data)), field) is None and decode(bytes(data)).id == message.id


# ---- a server ----------------------------------------------------------------------------------------------


def draw(request, rendered=None):
    return RenderedFrame(np.full((*request.cameras[0].size, 4), 255, np.uint8), rendered=rendered)


def test_only_who_asks_is_told_what_made_a_frame():
    with (
        Server(lambda request: draw(request, Rendered("texture", 0.5)), {}) as server,
        Client(server.endpoint) as client,
    ):
        assert client.render(None, VIEW).rendered is None
        for name in ("", "texture"):
            client.renderer = name
            assert client.render(None, VIEW).rendered == ("texture", 0.5)


def test_a_server_that_says_nothing_of_renderers_serves_all_the_same():
    with Server(draw, {}) as server, Client(server.endpoint) as client:
        client.renderer = "lite"
        assert client.render(None, VIEW).rendered is None


def test_requests_are_counted_those_replaced_too(eventually):
    seen, gate = [], threading.Event()

    def render(request):
        seen.append(request.asked)
        assert gate.wait(10)
        return draw(request)

    with Server(render, {}) as server, Client(server.endpoint, window=2) as client:
        first = client.send(None, VIEW)
        eventually(lambda: seen)
        for _ in range(6):
            client.send(None, VIEW)
            threading.Event().wait(0.02)
        gate.set()
        while (frame := client.async_read(10)).id < first + 6:
            pass
        assert frame.id == first + 6
    assert seen[0] == 1 and seen[-1] == 7 and len(seen) < 7


def test_other_capabilities_are_told_from_now_on():
    with (
        Server(draw, {"all": 1}, avatars={"a": {"x": 1}, "b": {"x": 2}}) as server,
        Client(server.endpoint) as client,
    ):
        assert client.describe("b")["x"] == 2
        server.update({"a": {"x": 1}, "b": {"x": 3}})
        told = client.describe("b")
        assert (told["x"], told["all"], told["avatars"], told["protocol"]) == (3, 1, ["a", "b"], 1)
        assert client.describe()["x"] == 1
        with pytest.raises(RemoteError):
            client.describe("c")


class Spare:
    """Spare time that counts; `wants` says whether it is due."""

    def __init__(self, wants=True, fails=False):
        self.wants, self.fails, self.asked, self.used = wants, fails, 0, 0

    def due(self):
        self.asked += 1
        return self.wants

    def use(self):
        self.used += 1
        if self.fails:
            raise ValueError("a trial went wrong")


@pytest.mark.parametrize("fails", [False, True])
def test_spare_time_is_used_after_a_frame_when_nothing_waits(fails, eventually):
    spare = Spare(fails=fails)
    with Server(draw, {}) as server, Client(server.endpoint) as client:
        server.use_spare_time(spare)
        for _ in range(3):
            assert client.render(None, VIEW).rgba.any()
        eventually(lambda: spare.used == 3)
        spare.wants = False
        client.render(None, VIEW)
        eventually(lambda: spare.asked == 4)
        assert spare.used == 3


def test_there_is_no_spare_time_while_something_waits(eventually):
    spare, gate, order = Spare(), threading.Event(), []

    def render(request):
        order.append(spare.used)
        assert gate.wait(10)
        return draw(request)

    with (
        Server(render, {}) as server,
        Client(server.endpoint) as one,
        Client(server.endpoint) as other,
    ):
        server.use_spare_time(spare)
        one.send(None, VIEW)
        eventually(lambda: order)
        other.send(None, VIEW)
        eventually(lambda: server.stats()["requests"] == 2)
        gate.set()
        one.async_read(10), other.async_read(10)
    assert order == [0, 0]
