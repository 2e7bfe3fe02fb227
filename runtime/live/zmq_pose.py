"""SMPL-X poses over ZeroMQ PUB/SUB: one small message per pose, of which only the newest counts. docs/live.md
has the layout."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import zmq

from dinar_live.runtime.core.errors import InputError, MotionError, ProtocolError
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.motion import reference_body as ref
from dinar_live.runtime.stream.line_watch import LineWatch, can_watch
from dinar_live.runtime.stream.protocol.messages import MAX_EXPRESSION
from dinar_live.runtime.stream.protocol.wire import (
    Block,
    BlockType,
    Header,
    WireError,
    pack,
    unpack_blocks,
    unpack_header,
)
from dinar_live.runtime.stream.sockets import bind, is_loopback, make_socket

from .sample_buffer import PacketOrder
from .source import Skeleton, SourceState
from .source_form import OpenOptions, SourceForm, WrongForm
from .threaded_source import ThreadedSource

# Beside the types of the stream protocol, which end at 8 and 21.
POSE_MESSAGE = 32
LEG_LENGTH, EXPRESSION_NAMES = 48, 49
MAX_MESSAGE = 64 * 1024
_MAX_NAMES = 8192
_REORDER_MESSAGES = 256
_POLL_MS = 50
_SILENCE_SECONDS = 2.0  # then the connection is made anew
_QUEUE = 4
_NO_EXPRESSION = np.zeros(0, np.float32)


def encode_pose(
    body,
    pelvis,
    expression=_NO_EXPRESSION,
    *,
    sequence: int,
    session: int = 0,
    time_ns: int = 0,
    leg_length: float | None = None,
    names: bytes = b"",
) -> bytearray:
    """A pose message. body: [55,3], pelvis: [3] metres, expression: [E], names: E names joined by new lines.
    Raises InputError."""
    blocks: list[tuple[int, int, np.ndarray | bytes]] = [
        (BlockType.POSE, 1, checked("body", body, (55, 3), 4 * np.pi)),
        (BlockType.TRANSL, 1, checked("pelvis", pelvis, (3,), 1e4)),
    ]
    expression = checked("expression", expression, (-1,), 100.0)
    if len(expression) > MAX_EXPRESSION:
        raise InputError(f"expression: {len(expression)} values, at most {MAX_EXPRESSION} are allowed")
    if len(expression):
        blocks += [(BlockType.EXPRESSION, 1, expression), (EXPRESSION_NAMES, 1, names)]
    if leg_length is not None:
        blocks.append((LEG_LENGTH, 1, checked("leg_length", [leg_length], (1,), 10.0)))
    return pack(POSE_MESSAGE, blocks, id=sequence, client_time_ns=time_ns, session=session)


class SmplxPublisher:
    """Publishes poses for `dinar live smplx:ENDPOINT`.

    endpoint: tcp://127.0.0.1:PORT; one that others can reach needs insecure=True, for nothing is encrypted.
    leg_length: thigh + shank of the body that the poses are for, metres. expression_names: of the values that
        `send` is given. Raises DinarError.
    """

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5560",
        *,
        leg_length: float = ref.SMPLX_LEG,
        expression_names=(),
        insecure: bool = False,
    ):
        names = tuple(map(str, expression_names))
        if any("\n" in name or not name for name in names) or len(names) > MAX_EXPRESSION:
            raise InputError(
                f"expression_names: expected at most {MAX_EXPRESSION} names, none empty or with a line break"
            )
        self._names = "\n".join(names).encode()
        if len(self._names) > _MAX_NAMES:
            raise InputError(
                f"expression_names: {len(self._names)} bytes of names, expected at most {_MAX_NAMES}"
            )
        self._count = len(names)
        self._leg = leg_length
        self._session = secrets.randbits(32)
        self._sequence = 0
        self._context = zmq.Context()
        self._socket = make_socket(
            self._context, zmq.PUB, send_queue=_QUEUE, receive_queue=_QUEUE, max_message=MAX_MESSAGE
        )
        self._socket.setsockopt(zmq.CONFLATE, 1)  # a full queue of a PUB would drop the newest
        self._watch = LineWatch(self._socket) if can_watch() else None
        try:
            self.endpoint = bind(self._socket, endpoint, insecure=insecure)
        except BaseException:
            self.close()
            raise

    def send(self, body, pelvis=(0.0, 0.0, 0.0), expression=None, *, time_ns: int | None = None) -> int:
        """Publish a pose; never waits. body: [55,3] axis-angle, hands absolute. pelvis: [3] metres (SMPL-X's
        transl will do).

        expression: one value per expression name. time_ns: when the pose was taken, default now. Returns the
            pose's number.
        """
        expression = np.zeros(self._count, np.float32) if expression is None else expression
        if np.shape(expression) != (self._count,):
            raise InputError(
                f"expression: got shape {list(np.shape(expression))}, expected [{self._count}], one value per expression name"
            )
        self._sequence += 1
        self._socket.send(
            encode_pose(
                body,
                pelvis,
                expression,
                sequence=self._sequence,
                session=self._session,
                leg_length=self._leg,
                time_ns=time.monotonic_ns() if time_ns is None else time_ns,
                names=self._names,
            )
        )
        return self._sequence

    def close(self) -> None:
        """Free the socket. May be called twice."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._socket.close(0)
        self._context.term()

    def __enter__(self) -> SmplxPublisher:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


class ZmqSource(ThreadedSource[zmq.Socket]):
    """Reads the newest message of a publisher at `endpoint` on a thread of its own."""

    kind = "ZeroMQ"
    message_type = 0
    thread_name = "dinar-zmq-pose"

    def __init__(self, endpoint: str, *, clock: Callable[[], float] = time.monotonic):
        super().__init__(clock)
        _check_address(endpoint)
        self.endpoint = endpoint
        self._order = PacketOrder(_REORDER_MESSAGES)
        self._session: int | None = None
        self._sequence = 0

    @abstractmethod
    def _use(self, header: Header, blocks: Sequence[Block], now: float) -> None:
        """Put what is in a message into `samples`. Raises ProtocolError."""

    def feed(self, data: bytes) -> None:
        """Use one message as if it had come from the network. Never raises for what is in it."""
        now = self.samples.clock()
        self.samples.heard(now)
        try:
            header = unpack_header(data)
            if header.type != self.message_type:
                raise WireError(f"message type {header.type}, expected {self.message_type}")
            blocks = unpack_blocks(data, header)
            if header.session != self._session:  # another publisher, or the same started again
                self._session = header.session
                self._sequence = 0
                self._order.reset()
            if verdict := self._order.check(header.id, now):
                self.samples.drop(verdict)
                return
            if 0 < self._sequence < header.id - 1:
                self.samples.drop("lost", min(header.id - 1 - self._sequence, 10_000))
            self._sequence = header.id
            self._use(header, blocks, now)
        except ProtocolError:
            self.samples.drop("malformed")

    def _open(self) -> zmq.Socket:
        context = zmq.Context()
        try:
            return self._connected(context)
        except zmq.ZMQError as e:
            context.destroy(linger=0)
            raise MotionError(
                f"cannot connect to {self.endpoint}: {e.strerror}. Expected tcp://HOST:PORT of the publisher"
            ) from None

    def _connected(self, context: zmq.Context) -> zmq.Socket:
        socket = make_socket(
            context, zmq.SUB, send_queue=_QUEUE, receive_queue=_QUEUE, max_message=MAX_MESSAGE
        )
        socket.setsockopt(zmq.CONFLATE, 1)  # counts only before connect
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.setsockopt(zmq.IPV6, "[" in self.endpoint)
        socket.connect(self.endpoint)
        return socket

    def _listen(self, connection: zmq.Socket) -> None:
        context: zmq.Context = connection.context
        heard = time.monotonic()
        try:
            while not self._stop.is_set():
                if connection.poll(_POLL_MS):
                    self.feed(connection.recv())
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENCE_SECONDS:
                    # libzmq reconnects after a lost connection, but never after a message that was too large
                    connection.close(0)
                    connection = self._connected(context)
                    heard = time.monotonic()
        finally:
            connection.close(0)
            context.term()

    @property
    def state(self) -> SourceState:
        state = self.samples.state(f"{self.kind} from {self.endpoint}", peer=self.endpoint)
        hint = "" if state.connected else f"waiting for {self.endpoint}: start the publisher there"
        return self.samples.state(state.name, peer=self.endpoint, hint=hint)


class SmplxSubscriber(ZmqSource):
    """Poses of a `SmplxPublisher`, or of anything that writes its messages."""

    kind = "SMPL-X"
    message_type = POSE_MESSAGE

    def __init__(
        self, endpoint: str = "tcp://127.0.0.1:5560", *, clock: Callable[[], float] = time.monotonic
    ):
        super().__init__(endpoint, clock=clock)
        self._body: tuple[float, bytes] | None = None

    def _use(self, header: Header, blocks: Sequence[Block], now: float) -> None:
        found = {b.type: b for b in blocks if b.format == 1}
        if BlockType.POSE not in found:
            raise WireError("no POSE block")
        pelvis = floats(found, BlockType.TRANSL, 3) if BlockType.TRANSL in found else np.zeros(3)
        names = bytes(found[EXPRESSION_NAMES].data) if EXPRESSION_NAMES in found else b""
        expression = _NO_EXPRESSION
        if names and BlockType.EXPRESSION in found:
            expression = floats(found, BlockType.EXPRESSION, names.count(b"\n") + 1)
        elif names:
            raise WireError("EXPRESSION_NAMES without EXPRESSION")
        leg = float(floats(found, LEG_LENGTH, 1)[0]) if LEG_LENGTH in found else ref.SMPLX_LEG
        if (leg, names) != self._body:
            if not 0.05 <= leg <= 10 or len(names) > _MAX_NAMES:
                raise WireError("LEG_LENGTH or EXPRESSION_NAMES out of range")
            try:
                listed = tuple(names.decode().split("\n")) if names else ()
            except UnicodeDecodeError:
                raise WireError("EXPRESSION_NAMES: no UTF-8") from None
            if len(listed) > MAX_EXPRESSION or len(set(listed)) != len(listed):
                raise WireError("EXPRESSION_NAMES: too many, or the same twice")
            self._body = leg, names
            self.samples.set_skeleton(Skeleton(leg, listed))
        body = floats(found, BlockType.POSE, 165).reshape(55, 3)
        self.samples.put(body, pelvis, expression, time_s=header.client_time_ns / 1e9, now=now)


def _check_address(endpoint: str) -> None:
    """Raises InputError for what no publisher can be connected to at."""
    try:
        is_loopback(endpoint)
        if not endpoint.startswith("tcp://") or int(endpoint.rpartition(":")[2]):
            return
    except InputError:
        pass
    guess = (
        f"tcp://127.0.0.1:{endpoint}" if endpoint.isascii() and endpoint.isdigit() else "tcp://127.0.0.1:5560"
    )
    raise InputError(
        f"endpoint: got {endpoint!r}, expected the address that the publisher has, tcp://HOST:PORT or ipc://PATH, such as "
        f"{guess}"
    )


def floats(found: Mapping[int, Block], type: int, count: int) -> np.ndarray:
    """The `count` little-endian floats of a block. Raises WireError if they are not as many."""
    data = found[type].data
    if len(data) != 4 * count:
        raise WireError(f"block {int(type)}: {len(data)} bytes, expected {4 * count}")
    return np.frombuffer(data, "<f4")


def _open(endpoint: str, options: OpenOptions) -> SmplxSubscriber:
    if not endpoint:
        raise WrongForm
    return SmplxSubscriber(endpoint)


FORM = SourceForm("smplx", "smplx:tcp://HOST:PORT", _open)
