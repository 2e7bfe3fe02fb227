"""CurveAuthenticator: answers libzmq's question who may connect (ZAP, ZeroMQ RFC 27).

pyzmq's own authenticator is not used: it lets peers without CURVE in by default, reads key files only when
told to, keeps an old list or none when that fails, and takes a thread with an event loop for it.
"""

from __future__ import annotations

import logging

import zmq
from zmq.utils import z85

from .keys import KeyFolder, KeyPair

log = logging.getLogger(__name__)

DOMAIN = b"dinar-live"  # libzmq asks with the domain of the socket, and it is compared as a whole
# How a handshake can fail, and what that says about the server. The last one also happens to a connection
# that breaks in the middle of it.
REFUSALS = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "does not let this key in; on its machine, `dinar keys add` does that",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "and this client do not agree on keys: give both server_key and key for a server that was started "
    "with --curve, none for another",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "hangs up on this client; is server_key the one that it prints?",
}
FINAL_REFUSALS = (zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_MAX_ANSWERS = 64  # in a row, so that many who ask at once do not keep the server from its clients


def guard(socket: zmq.Socket, keys: KeyFolder | None) -> None:
    """Makes `socket`, not yet bound, accept only peers that a CurveAuthenticator of its context lets in and,
    with keys, that know the server's public key."""
    if keys is not None:
        socket.curve_server = 1
        socket.curve_publickey, socket.curve_secretkey = (
            keys.pair.public.encode("ascii"),
            keys.pair.secret.encode("ascii"),
        )
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    socket.setsockopt(
        zmq.ZAP_ENFORCE_DOMAIN, 1
    )  # without this, libzmq lets everybody in where nobody answers


def present(socket: zmq.Socket, server_key: str, pair: KeyPair) -> None:
    """Makes `socket`, not yet connected, talk only to the server with this public key, and show it `pair`."""
    socket.curve_serverkey = server_key.encode("ascii")
    socket.curve_publickey, socket.curve_secretkey = pair.public.encode("ascii"), pair.secret.encode("ascii")


def key_of(part: zmq.Frame) -> str | None:
    """The public key of the peer that sent a part to a guarded socket; None = it came over inproc, from this
    process."""
    try:
        key = part.get("User-Id")
    except zmq.ZMQError:
        return None
    return key if isinstance(key, str) else None


class CurveAuthenticator:
    """Decides for all guarded sockets of `context`, by the keys in a KeyFolder; None = everybody may come in,
    when it is their turn. `socket` is to be polled and `answer` called by one thread."""

    def __init__(self, context: zmq.Context, keys: KeyFolder | None):
        self._keys = keys
        self.refused = 0
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answers those who ask to connect now."""
        for _ in range(_MAX_ANSWERS):
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            key = self._key(request)
            allowed = (
                (request[5:6] == [b"NULL"])
                if self._keys is None
                else key is not None and self._keys.name_of(key) is not None
            )
            if not allowed:
                self.refused += 1
                log.info("refused: %s with the key %s", request[3][:64] if len(request) > 3 else b"", key)
            status = (b"200", b"OK", (key or "").encode("ascii")) if allowed else (b"400", b"no access", b"")
            self.socket.send_multipart([b"1.0", request[1] if len(request) > 1 else b"", *status, b""])

    def close(self) -> None:
        self.socket.close()

    @staticmethod
    def _key(request: list[bytes]) -> str | None:
        """The public key in a request for our domain: version, request id, domain, address, routing id,
        mechanism, key."""
        if (
            len(request) == 7
            and request[0] == b"1.0"
            and request[2] == DOMAIN
            and request[5] == b"CURVE"
            and len(request[6]) == 32
        ):
            return z85.encode(request[6]).decode("ascii")
        return None
