"""What the page's port answers over plain HTTP, and to whom."""
from __future__ import annotations

import importlib.resources
import re
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

SOCKET_PATH = "/ws"
FILES = {"/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript"), "/page.css": ("page.css", "text/css")}
HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws://{host}; "
           "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


class Pages:
    """Answers a request for a page file or refuses it; a good request for the WebSocket passes (None)."""

    def __init__(self):
        folder = importlib.resources.files(__package__)
        self._files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}

    def answer(self, request: Request) -> Response | None:
        """The response to `request`, or None where the WebSocket handshake may go on.

        The Host must be a name of this machine, which stops a foreign site whose name was pointed here, and a WebSocket's Origin
        must be that same host and port, which stops a foreign site's script.
        """
        try:
            host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        except LookupError:         # the header came twice
            return self._response(HTTPStatus.BAD_REQUEST, "each header once, please\n")
        if getattr(request, "method", "GET") != "GET":      # older websockets let nothing else through and do not tell
            return self._response(HTTPStatus.METHOD_NOT_ALLOWED, "GET, please\n")
        if not HOST.fullmatch(host):
            return self._response(HTTPStatus.FORBIDDEN, "this page is only for the machine it runs on\n")
        if request.path == SOCKET_PATH:
            if origin not in (None, f"http://{host}"):
                return self._response(HTTPStatus.FORBIDDEN, "this stream is only for its own page\n", host)
            return None
        if request.path not in self._files:
            return self._response(HTTPStatus.NOT_FOUND, "no such page\n", host)
        content, kind = self._files[request.path]
        return self._response(HTTPStatus.OK, content, host, kind)

    @staticmethod
    def _response(status: HTTPStatus, body: str | bytes, host: str = "", kind: str = "text/plain") -> Response:
        body = body.encode() if isinstance(body, str) else body
        return Response(status.value, status.phrase, Headers({
            "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close", "Cache-Control": "no-store",
            "Content-Security-Policy": _POLICY.format(host=host), "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
        }), body)
