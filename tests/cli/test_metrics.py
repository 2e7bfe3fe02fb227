"""Figures for Prometheus and health over HTTP, the server's log, and options from a file."""

import argparse
import logging
import urllib.error
import urllib.request

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dinar_live.cli import serve
from dinar_live.cli.main import main
from dinar_live.metrics import BUCKETS, StatusPage
from dinar_live.runtime import Camera, Pose
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.stream import Client, Server
from dinar_live.runtime.stream.rendering import RenderedFrame


def get(page, path):
    """(status, text)."""
    try:
        with urllib.request.urlopen(page.url.replace("/metrics", path), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def samples(page):
    families = text_string_to_metric_families(get(page, "/metrics")[1])
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def render(request):
    return RenderedFrame(np.zeros((*request.cameras[0].size, 4), np.uint8), timings={"network": 3.0})


def test_figures_and_health_follow_the_server():
    with StatusPage("0") as page:
        assert get(page, "/health") == (503, "starting\n")
        assert samples(page)["dinar_up",] == 0 and ("dinar_frames_total",) not in samples(page)
        with Server(render, {"size": [16, 16]}) as server:
            page.attach(server)
            assert get(page, "/health") == (200, "ok\n")
            with Client(server.endpoint) as client:
                for _ in range(5):
                    client.render(Pose(), Camera.orbit((0, 1, 0), (16, 16)))
                found = samples(page)
            stats = server.stats()
        for name in ("requests", "frames", "superseded", "errors", "malformed", "refused", "bytes_sent"):
            assert found[f"dinar_{name}_total",] == stats[name], name
        assert found["dinar_frames_total",] == 5 and found["dinar_clients",] == 1 and found["dinar_up",] == 1
        assert {key[1] for key in found if key[0] == "dinar_stage_seconds_count"} == {
            "wait", "network", "render", "encode",
        }  # fmt: skip
        assert found["dinar_stage_seconds_sum", "network"] == pytest.approx(5 * 0.003)
        assert found["dinar_stage_seconds_bucket", "0.002", "network"] == 0
        assert found["dinar_stage_seconds_bucket", "0.005", "network"] == 5
        assert found["dinar_answer_seconds_count",] == 5
        assert len([key for key in found if key[0] == "dinar_answer_seconds_bucket"]) == len(BUCKETS) + 1
        assert get(page, "/nothing")[0] == 404


def test_a_server_that_failed_is_ill(monkeypatch):
    with StatusPage("127.0.0.1:0") as page, Server(render, {"size": [16, 16]}) as server:
        page.attach(server)
        monkeypatch.setattr(Server, "failed", True)
        assert get(page, "/health") == (503, "failed; the log says why\n")
        assert samples(page)["dinar_up",] == 0


def test_an_observer_that_fails_costs_no_frame(caplog):
    with Server(render, {"size": [16, 16]}) as server:
        server.observe(lambda timings: 1 / 0)
        with Client(server.endpoint) as client:
            client.render(Pose(), Camera.orbit((0, 1, 0), (16, 16)))
    assert "an observer failed" in caplog.text


@pytest.mark.parametrize("address", ["", "x", "-1", "70000", "127.0.0.1:", "9100/metrics"])
def test_addresses_that_are_none(address):
    with pytest.raises(InputError, match="--metrics: got"):
        StatusPage(address)


def test_a_port_that_is_taken_is_told():
    with StatusPage("0") as page, pytest.raises(InputError, match="cannot listen"):
        StatusPage(page.url.split("/")[2])


def test_without_the_package_the_line_that_installs_it(monkeypatch, capsys):
    monkeypatch.setattr(serve.common.importlib.util, "find_spec", lambda name: None)
    assert main(["serve", "demo", "--metrics", "0", "--no-page"]) == 2
    assert "prometheus_client" in (error := capsys.readouterr().err) and "[metrics]" in error


@pytest.mark.parametrize("level", serve.LOG_LEVELS)
def test_log_level(level, capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging.getLogger("dinar_live"), "level", logging.NOTSET)
    serve.start_log(argparse.Namespace(log_level=level), "dinar serve")
    logger = logging.getLogger("dinar_live.runtime.stream.server")
    logger._cache.clear()
    for each in serve.LOG_LEVELS:
        logger.log(getattr(logging, each.upper()), "said at %s", each)
    said = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == list(serve.LOG_LEVELS[serve.LOG_LEVELS.index(level) :])
