"""A peer that speaks ZMTP 3.1 (ZeroMQ RFC 37) by hand, so that it can say what libzmq would not, and hang up
at any moment."""

import socket
import struct

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
_COMMAND = 4


def frame(data: bytes, flags: int = 0) -> bytes:
    """One frame: a message of one part, or with flags=4 a command."""
    if len(data) < 256:
        return bytes([flags, len(data)]) + data
    return bytes([flags | 2]) + struct.pack(">Q", len(data)) + data


PING = frame(b"\4PING\0\0", _COMMAND)


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


class ZmtpPeer:
    """One connection, its handshake done. connection: one that was accepted, else `endpoint` is connected
    to."""

    def __init__(
        self,
        endpoint: str = "",
        *,
        connection: socket.socket | None = None,
        type: bytes = b"DEALER",
        routing_id: bytes = b"",
    ):
        if connection is None:
            host, port = endpoint.removeprefix("tcp://").split(":")
            connection = socket.create_connection((host, int(port)), 5)
        self.socket = connection
        self.socket.sendall(_GREETING)
        self._read(len(_GREETING))
        ready = b"\5READY" + _property(b"Socket-Type", type) + _property(b"Identity", routing_id)
        self.socket.sendall(frame(ready, _COMMAND))
        self._read(self._read(2)[1])

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the other side hung up"
            data += more
        return data

    def send(self, data: bytes) -> None:
        """Frames, as they are."""
        self.socket.sendall(data)

    def reset(self) -> None:
        """Ends the connection the hard way, as the kernel does for a process that died with answers
        unread."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
