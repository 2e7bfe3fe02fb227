"""What the page's port answers over plain HTTP, and to whom."""

from __future__ import annotations

import hmac
import ipaddress
import pathlib
import re
import socket
from collections.abc import Sequence
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from dinar_live.runtime.core.errors import DinarError, InputError

SOCKET_PATH = "/ws"
CLIENT_PATH = "/client/"  # where the page finds the modules of clients/javascript
PROTOCOL = "dinar-live"  # the WebSocket subprotocol; a key comes beside it, as KEY_PREFIX + key
KEY_PREFIX = "key."
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE = pathlib.Path(__file__).resolve().parent / "page"
# Two folders up, beside runtime, in a checkout and in an installed package.
_CLIENT = _PAGE.parents[2] / "clients" / "javascript"
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[a-zA-Z0-9._-]{1,253})(:[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://" + _HOST.pattern)
_LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws://{host} wss://{host}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RequestGuard:
    """Who may come in: checks Host, Origin and key.

    host: the address that is listened on. key: what a page must know, "" = nothing. origins: more addresses
    of the page, as https://avatars.example.org, where something in front of it makes it reachable there.
    Raises InputError.
    """

    def __init__(self, host: str, key: str = "", origins: Sequence[str] = ()):
        names = set(_LOCAL_NAMES)
        for origin in origins:
            found = _ORIGIN.fullmatch(origin)
            if found is None:
                raise InputError(
                    f"page origin: got {origin!r}, expected scheme and host, as https://avatars.example.org"
                )
            names.add(found[1].lower())
        self.local = is_loopback(host)
        self._key = key.encode()
        self._origins = frozenset(o.lower() for o in origins)
        self._names = names
        if not self.local:
            name = socket.gethostname().lower()
            self._names |= {name, name.partition(".")[0] + ".local"}

    def knows_host(self, header: str) -> bool:
        """Whether a Host header is a name of this machine. A foreign site whose name was pointed here brings
        its own name (DNS rebinding); a literal address cannot be pointed anywhere."""
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        name = found[1].lower()
        return name in self._names or (not self.local and _is_address(name))

    def knows_origin(self, origin: str | None, host: str) -> bool:
        """Whether a WebSocket's Origin is the page itself; a program that is no browser sends none."""
        return origin is None or origin.lower() == f"http://{host}".lower() or origin.lower() in self._origins

    def knows_key(self, protocols: Sequence[str]) -> bool:
        """Whether the key is among the subprotocols that a WebSocket offers."""
        if not self._key:
            return True
        offered = [p.removeprefix(KEY_PREFIX).encode() for p in protocols if p.startswith(KEY_PREFIX)]
        return len(offered) == 1 and hmac.compare_digest(offered[0], self._key)


def _read_files(folder: pathlib.Path, address: str, kinds: tuple[str, ...]) -> dict[str, tuple[bytes, str]]:
    """The files of `folder` that end in one of `kinds`: address -> content and type. Raises DinarError where
    there are none."""
    files = {
        f"{address}{f.name}": (f.read_bytes(), TYPES[f.suffix])
        for f in sorted(folder.glob("*"))
        if f.suffix in kinds
    }
    if not files:
        raise DinarError(f"{folder}: the page's files are not there; install dinar-live again")
    return files


class Pages:
    """Answers a request for a page file or refuses it; a good request for the WebSocket passes (None)."""

    def __init__(self, guard: RequestGuard):
        self._guard = guard
        # What is served is what lies in these folders: a path is looked up here and never opened.
        self._files = _read_files(_PAGE, "/", tuple(TYPES))
        self._files["/"] = self._files.pop("/index.html")
        self._files |= _read_files(_CLIENT, CLIENT_PATH, (".js",))

    def answer(self, request: Request) -> Response | None:
        """The response to `request`, or None where the WebSocket handshake may go on."""
        try:
            host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        except LookupError:  # the header came twice
            return self._response(HTTPStatus.BAD_REQUEST, "each header once, please\n")
        if (
            getattr(request, "method", "GET") != "GET"
        ):  # older websockets let nothing else through and do not tell
            return self._response(HTTPStatus.METHOD_NOT_ALLOWED, "GET, please\n")
        if not self._guard.knows_host(host):
            return self._response(
                HTTPStatus.FORBIDDEN, "this machine does not know itself by that name (see --page-origin)\n"
            )
        if request.path == SOCKET_PATH:
            if not self._guard.knows_origin(origin, host):
                return self._response(HTTPStatus.FORBIDDEN, "this stream is only for its own page\n", host)
            return None
        if request.path not in self._files:
            return self._response(HTTPStatus.NOT_FOUND, "no such page\n", host)
        content, kind = self._files[request.path]
        return self._response(HTTPStatus.OK, content, host, kind)

    @staticmethod
    def _response(
        status: HTTPStatus, body: str | bytes, host: str = "", kind: str = "text/plain"
    ) -> Response:
        body = body.encode() if isinstance(body, str) else body
        return Response(
            status.value,
            status.phrase,
            Headers(
                {
                    "Content-Type": f"{kind}; charset=utf-8",
                    "Content-Length": str(len(body)),
                    "Connection": "close",
                    "Cache-Control": "no-store",
                    "Content-Security-Policy": _POLICY.format(host=host),
                    "X-Content-Type-Options": "nosniff",
                    "X-Frame-Options": "DENY",
                    "Referrer-Policy": "no-referrer",
                    "Cross-Origin-Resource-Policy": "same-origin",
                    "Cross-Origin-Opener-Policy": "same-origin",
                }
            ),
            body,
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
