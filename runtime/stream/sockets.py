"""ZeroMQ sockets as both sides use them: options, addresses, a wake-up call between threads."""

from __future__ import annotations

import ipaddress
import threading

import zmq

from dinar_live.runtime.core.errors import DinarError, InputError

HANDSHAKE_MS = 3000
# Seconds. The kernel notices peers that vanish, and not libzmq's heartbeats: those abort the process (libzmq
# 4.3.5, Assertion failed: !_io_error) where a peer resets a connection whose queue is full, which is also why
# queues from the network must have no limit.
KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 2,
    zmq.TCP_KEEPALIVE_INTVL: 1,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
UNACKNOWLEDGED_MS = 10_000
# Bytes. Linux would let megabytes pile up for a client that does not read, seconds of frames that are
# rendered for nobody.
KERNEL_BUFFER = 256 * 1024
CLOSE_LINGER_MS = 500  # not 0: that drops the last large message on its way out


def make_socket(
    context: zmq.Context, type: int, *, send_queue: int, receive_queue: int, max_message: int
) -> zmq.Socket:
    """A ROUTER, DEALER, XPUB or SUB with every bound set; options only count when set before bind or connect.

    receive_queue: 0 = no limit, for a ROUTER or DEALER whose peer is on a network and may mean harm (see
    KEEPALIVE); whoever owns it then reads all that comes. zmq.CONFLATE, a queue of one message that is never
    full, is as good.
    """
    socket = context.socket(type)
    options = {
        zmq.LINGER: CLOSE_LINGER_MS,
        zmq.SNDHWM: send_queue,
        zmq.RCVHWM: receive_queue,
        zmq.MAXMSGSIZE: max_message,
        zmq.SNDTIMEO: 0,
        zmq.HEARTBEAT_IVL: 0,
        **KEEPALIVE,
        zmq.TCP_MAXRT: UNACKNOWLEDGED_MS,
        zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
        zmq.SNDBUF: KERNEL_BUFFER,
        zmq.RCVBUF: KERNEL_BUFFER,
    }
    if type == zmq.ROUTER:
        options[zmq.ROUTER_MANDATORY] = 1  # a peer that is gone or does not read is an error, not silence
        options[zmq.ROUTER_HANDOVER] = (
            1  # libzmq would never read a second peer with the same routing id, only keep what it sends
        )
    elif type in (zmq.DEALER, zmq.SUB):
        options |= {zmq.RECONNECT_IVL: 100, zmq.RECONNECT_IVL_MAX: 400}  # to be back within a second
    if type == zmq.DEALER:
        options[zmq.IMMEDIATE] = (
            1  # queue nothing for a server that is not there; a SUB would not say what it subscribes to
        )
    for option, value in options.items():
        socket.setsockopt(option, value)
    return socket


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach `endpoint` (tcp://host:port or ipc://path). Raises InputError for
    anything else."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc" and rest:
        return True
    host, _, port = rest.rpartition(":")
    if scheme != "tcp" or not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise InputError(
            f"endpoint: got {endpoint!r}, expected tcp://HOST:PORT (0 picks a free port) or ipc://PATH"
        )
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(socket: zmq.Socket, endpoint: str, *, insecure: bool = False) -> str:
    """Binds and returns the endpoint with its real port. Raises DinarError naming the endpoint and what to
    do, also for one that others can reach if the socket is neither guarded by keys nor allowed to be
    `insecure`."""
    if not is_loopback(endpoint) and not insecure and not socket.curve_server:
        raise DinarError(
            f"will not listen on {endpoint}: others on the network could reach it, unencrypted and unauthenticated. "
            "Use tcp://127.0.0.1:PORT, keys where they are offered (`dinar serve --curve`, Server(keys=...)), or --insecure "
            "(insecure=True) on a network that you trust"
        )
    try:
        socket.setsockopt(zmq.IPV6, "[" in endpoint)
        # libzmq binds to addresses and interfaces, not to host names.
        socket.bind(endpoint.replace("//localhost:", "//127.0.0.1:"))
    except zmq.ZMQError as e:
        if e.errno == zmq.EADDRINUSE:
            raise DinarError(
                f"cannot listen on {endpoint}: the port is in use. Stop the other server, or choose another port "
                "(port 0 picks a free one)"
            ) from None
        raise DinarError(
            f"cannot listen on {endpoint}: {e.strerror}. "
            "Expected an address of this machine, such as tcp://127.0.0.1:5555"
        ) from None
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


class Waker:
    """Lets any thread interrupt the poll of the one thread that owns `receiver`."""

    def __init__(self, context: zmq.Context):
        self.receiver, self._sender = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self.receiver.bind(f"inproc://waker-{id(self)}")
        self._sender.connect(f"inproc://waker-{id(self)}")
        self._lock = threading.Lock()
        self._rung = self._closed = False

    def wake(self) -> None:
        with self._lock:
            if not (self._rung or self._closed):
                self._rung = True
                self._sender.send(b"")

    def clear(self) -> None:
        """Called by the owner before it looks at what it was woken for."""
        with self._lock:
            if self._rung:
                self.receiver.recv()
                self._rung = False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._sender.close(0)
            self.receiver.close(0)
