"""Gateway: serves the page, and carries its messages to the server and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence

import zmq
import zmq.asyncio
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from dinar_live.runtime.core.errors import DinarError, InputError, ProtocolError
from dinar_live.runtime.stream.protocol.messages import Bye
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.protocol.wire import unpack_header

from .http import PROTOCOL, Pages, RequestGuard, is_loopback

log = logging.getLogger(__name__)

MAX_PAGES = 16
MAX_MESSAGE = 64 * 1024  # bytes, from a page; a request without a pose has 300
MAX_RATE = 400.0  # messages per second from one page: frames at 240 Hz, and what else it says
_BURST = 200.0
_WRITE_LIMIT = 64 * 1024  # bytes that may wait for a page before the next frame does
_CLOSE_SECONDS = 5.0
_PING_SECONDS, _PONG_SECONDS = 5, 10
_BAD_MESSAGE, _TRY_LATER, _WRONG_KEY = 1008, 1013, 4401  # WebSocket close codes; the last one is ours


class Gateway:
    """The page to watch. Each open page is a client of its own: its messages, the same bytes as over ZeroMQ,
    go to the server as they are and the answers back, so the server's rules hold for it too (one request
    waits, a newer one replaces it, turns are taken).

    host: address to listen on; unless it is a loopback one, pages need a key. port: 0 picks a free one. key:
    True = pages need a key here too. origins: further addresses of the page, where a proxy makes it
    reachable. A page that does not read holds up only itself. start() raises DinarError where the port cannot
    be used.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 8080, key: bool = False, origins: Sequence[str] = ()
    ):
        if not 0 <= port < 65536:
            raise InputError(f"page port: got {port}, expected 0..65535 (0 picks a free one)")
        self.host = host
        self.port = port
        self.key = secrets.token_urlsafe(16) if key or not is_loopback(host) else ""
        self._guard = RequestGuard(host, self.key, origins)
        self._pages = Pages(self._guard)
        self._connect: Callable[[], zmq.Socket] | None = None
        self._takers: dict[int, Callable[[bytes, str], None]] = {}
        self._open = self._count = 0
        self._thread: threading.Thread | None = None

    @property
    def local(self) -> bool:
        """Whether only this machine reaches the page."""
        return self._guard.local

    @property
    def url(self) -> str:
        """Where the page is, with the key in its fragment, which a browser sends to nobody."""
        host = _own_address(self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/" + (
            f"#key={self.key}" if self.key else ""
        )

    # ---- life ----------------------------------------------------------------------------------------------

    def start(self) -> Gateway:
        """Opens the port and starts the thread. Pages are told to come back until attach()."""
        try:
            family, _, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as e:
            raise DinarError(f"page host: {self.host} is no address of this machine ({e.strerror})") from None
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as e:
            listener.close()
            raise DinarError(
                f"cannot serve the page on {self.host}:{self.port}: {e.strerror}. Choose another port (--page-port, 0 picks a "
                "free one) or do without (--no-page)"
            ) from None
        self.port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listener, started), name="dinar-page", daemon=True
        )
        self._thread.start()
        if not started.wait(_CLOSE_SECONDS):
            raise DinarError("the page's thread does not start; the log says why")
        return self

    def attach(self, connect: Callable[[], zmq.Socket]) -> None:
        """From now on pages are served. connect: makes a DEALER socket that is connected to the server
        (`Server.connect_here`)."""
        self._connect = connect

    def take(self, message_type: int, call: Callable[[bytes, str], None]) -> None:
        """Messages of this type do not go to the server but to `call`, with a name for the page that sent them, on
        the page thread; pages that know no key do not come so far."""
        self._takers[message_type] = call

    def close(self) -> None:
        """Ends the connections and frees the port; to be called before the server's close. May be called
        twice."""
        if self._thread is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._finished.set)
        self._thread.join(_CLOSE_SECONDS)

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *exc) -> None:
        self.close()

    # ---- page thread ---------------------------------------------------------------------------------------

    def _run(self, listener: socket.socket, started: threading.Event) -> None:
        # zmq.asyncio watches file descriptors, which the default loop of Windows cannot.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._main(listener, started))

    async def _main(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        quiet = logging.getLogger("dinar_live.viewer.websockets")
        quiet.setLevel(logging.CRITICAL)  # what a stranger sends to the port is no news
        async with serve(
            self._connected,
            sock=listener,
            process_request=lambda _, request: self._pages.answer(request),
            select_subprotocol=lambda _, offered: Subprotocol(PROTOCOL) if PROTOCOL in offered else None,
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=8,
            write_limit=_WRITE_LIMIT,
            open_timeout=5,
            close_timeout=1,
            ping_interval=_PING_SECONDS,
            ping_timeout=_PONG_SECONDS,
            server_header="dinar-live",
            logger=quiet,
        ):
            started.set()
            await self._finished.wait()

    async def _connected(self, page: ServerConnection) -> None:
        assert page.request is not None  # there is one once the handshake is done
        offered = [
            p.strip() for h in page.request.headers.get_all("Sec-WebSocket-Protocol") for p in h.split(",")
        ]
        if not self._guard.knows_key(offered):
            # Closed after the handshake, for a browser tells its page nothing about one that was refused.
            await page.close(_WRONG_KEY, "the key is missing or wrong")
            return
        if self._open >= MAX_PAGES or self._connect is None:
            await page.close(
                _TRY_LATER, "too many pages are open" if self._connect else "the server is starting"
            )
            return
        self._open += 1
        plain = self._connect()
        link = zmq.asyncio.Socket.from_socket(plain)
        try:
            down = asyncio.create_task(self._carry_down(link, page))
            try:
                await self._carry_up(page, link)
            finally:
                down.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await down
        except ConnectionClosed:
            pass  # a page that vanished
        finally:
            self._open -= 1
            with contextlib.suppress(
                zmq.ZMQError
            ):  # the server is gone, or full to the brim; it forgets the silent by itself
                plain.send(encode(Bye()), zmq.NOBLOCK)
            link.close()
            # the same one: it would be closed once more when it is collected, whatever is at its address then
            plain.close()

    async def _carry_up(self, page: ServerConnection, link: zmq.asyncio.Socket) -> None:
        allowance, last = _BURST, time.monotonic()
        self._count += 1
        name = f"page {self._count}"
        async for message in page:
            now = time.monotonic()
            allowance, last = min(allowance + (now - last) * MAX_RATE, _BURST) - 1, now
            if allowance < 0:
                await page.close(_BAD_MESSAGE, "too many messages")
                return
            try:
                if isinstance(message, str):
                    raise ProtocolError("text")
                header = unpack_header(message)  # the server looks at the rest
            except ProtocolError:
                await page.close(_BAD_MESSAGE, "not a dinar-live message")
                return
            if taker := self._takers.get(header.type):
                taker(bytes(message), name)
            else:
                await link.send(message)

    async def _carry_down(self, link: zmq.asyncio.Socket, page: ServerConnection) -> None:
        """While a page does not read, nothing is read here for it either: the server then holds its requests
        back."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await page.send(await link.recv())


def _own_address(host: str) -> str:
    """`host`, or an address of this machine that others can use where it stands for all of them."""
    if host not in ("0.0.0.0", "::", ""):
        return host
    family, somewhere = (socket.AF_INET6, "2001:db8::1") if host == "::" else (socket.AF_INET, "192.0.2.1")
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((somewhere, 9))  # sends nothing; tells which address the packets would leave from
        return probe.getsockname()[0]
    return socket.gethostname()
