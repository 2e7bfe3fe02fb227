"""StatusPage: the figures of a server for Prometheus, and whether it is well, over HTTP."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dinar_live import __version__
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.stream import Server

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.033, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper ends in seconds."""
GAUGES = {"clients": "Clients that are connected now.", "spectators": "Spectators that watch now."}
COUNTERS = {
    "requests": "Render requests that came in.",
    "frames": "Frames that were sent.",
    "superseded": "Requests that a newer one of the same client replaced.",
    "errors": "Requests that were answered with an error.",
    "malformed": "Messages that could not be read.",
    "dropped_clients": "Clients that were dropped because they did not read or said too much.",
    "bytes_sent": "Bytes sent to clients.",
    "refused": "Connections that were refused for want of a key.",
}
"""Keys of Server.stats() -> what they count, since the start."""


class StatusPage:
    """Listens on `address` ("PORT" or "HOST:PORT", port 0 picks a free one; 127.0.0.1 without a host) as soon as it
    is made, until `close`.

    GET /metrics: what Prometheus reads. GET /health: 200 "ok" while the server answers, 503 with the reason while it
    starts and once it has failed. There is no password: keep the address within your machine or network. Raises
    InputError.
    """

    def __init__(self, address: str):
        host, _, port = address.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise InputError(f"--metrics: got {address!r}, expected PORT or HOST:PORT")
        self._server: Server | None = None
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(self))
        self._stages = Histogram(
            "dinar_stage_seconds",
            "Time of each stage of a frame: wait for its turn, render and its parts, encode.",
            ["stage"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._answers = Histogram(
            "dinar_answer_seconds",
            "From a request's arrival until its frame is ready to be sent.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        try:
            self._http = http.server.ThreadingHTTPServer((host or "127.0.0.1", int(port)), self._handler())
        except OSError as e:
            raise InputError(f"--metrics: cannot listen on {address}: {e.strerror or e}") from e
        self._http.daemon_threads = True
        self.url = f"http://{host or '127.0.0.1'}:{self._http.server_address[1]}/metrics"
        self._thread = threading.Thread(target=self._http.serve_forever, name="dinar-metrics", daemon=True)
        self._thread.start()

    def attach(self, server: Server) -> None:
        """Tells of `server`, which runs, from now on."""
        self._server = server
        server.observe(self._observe)

    def close(self) -> None:
        """Frees the port. May be called twice."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> StatusPage:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def trouble(self) -> str | None:
        """Why clients get no answers now, None if they do."""
        if self._server is None:
            return "starting"
        return "failed; the log says why" if self._server.failed else None

    def stats(self) -> Mapping[str, int]:
        """Server.stats(), empty before there is a server."""
        return {} if self._server is None else self._server.stats()

    def _observe(self, timings: Mapping[str, float]) -> None:
        for stage, ms in timings.items():
            self._stages.labels(stage).observe(ms / 1e3)
        self._answers.observe(sum(timings.get(stage, 0.0) for stage in ("wait", "render", "encode")) / 1e3)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10  # seconds, for peers that say nothing
            server_version = "dinar-live"
            sys_version = ""

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, generate_latest(page._registry), CONTENT_TYPE_LATEST)
                elif path == "/health":
                    trouble = page.trouble()
                    self._answer(503 if trouble else 200, f"{trouble or 'ok'}\n".encode())
                else:
                    self._answer(404, b"there are /metrics and /health\n")

            def _answer(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args) -> None:
                pass  # once every few seconds, for a year

        return Handler


class _Figures(Collector):
    def __init__(self, page: StatusPage):
        self._page = page

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "dinar_up", "1 while clients get answers.", float(self._page.trouble() is None)
        )
        info = GaugeMetricFamily("dinar_build_info", "Always 1.", labels=["version"])
        info.add_metric([__version__], 1.0)
        yield info
        stats = self._page.stats()
        for name, text in COUNTERS.items():
            if name in stats:
                yield CounterMetricFamily(f"dinar_{name}", text, stats[name])
        for name, text in GAUGES.items():
            if name in stats:
                yield GaugeMetricFamily(f"dinar_{name}", text, stats[name])
