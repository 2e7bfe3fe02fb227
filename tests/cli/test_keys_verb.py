"""dinar keys, and the other verbs with keys, as users run them."""

import contextlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.stream import Client
from dinar_live.runtime.stream.protocol.messages import (
    CameraView,
    Caps,
    FrameMessage,
    Hello,
    RenderRequest,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode

DINAR = [sys.executable, "-m", "dinar_live.cli.main"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("avatar") / "tiny"
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    Avatar(name="tiny", rig=Body.open().rig(), renderers={"texture": RendererSpec(texture)}).save(path)
    return str(path)


@pytest.fixture
def dinar(tmp_path, monkeypatch, capsys):
    """Runs a verb in an empty folder with an empty home; returns its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))

    def run(*arguments):
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@contextlib.contextmanager
def serving(bundle, *arguments):
    """(endpoint, page address) of a server that is ready."""
    command = [
        *DINAR,
        "serve",
        bundle,
        "--endpoint",
        "tcp://127.0.0.1:0",
        "--size",
        "128",
        "--threads",
        "1",
        *arguments,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready "):
                break
        else:
            pytest.fail(f"not ready: {said}")
        yield line.split()[1:]
    finally:
        process.kill()
        process.communicate()


def test_new_add_list_revoke(dinar, tmp_path):
    code, said = dinar("keys", "new", "alice")
    assert (
        code == 0
        and "alice.key" in said
        and sorted(p.name for p in tmp_path.iterdir()) == ["alice.key", "alice.pub"]
    )
    public = re.search("public key: (.{40})\n", said)[1]
    code, said = dinar("keys", "add", "alice", "alice.pub")
    assert code == 0 and "server.pub" in said
    assert dinar("keys", "add", "bob", public)[0] == 2, "this key is there already"
    code, said = dinar("keys", "list")
    assert (
        code == 0
        and f"alice        {public}" in said
        and (tmp_path / "config" / "dinar-live" / "keys" / "server.key").exists()
    )
    assert dinar("keys", "revoke", "alice")[0] == 0
    assert "nobody may connect yet" in dinar("keys", "list")[1]


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["new", "../alice"], "name: got '../alice'"),
        (["add", "alice", "no such file"], "40 characters"),
        (["revoke", "alice"], "nobody is called 'alice'"),
    ],
)
def test_mistakes_are_one_line_and_code_2(dinar, arguments, message):
    code, said = dinar("keys", *arguments)
    assert code == 2 and message in said and said.count("\n") == 1


def test_new_replaces_nothing(dinar, tmp_path):
    assert dinar("keys", "new", "alice")[0] == 0
    before = (tmp_path / "alice.key").read_bytes()
    code, said = dinar("keys", "new", "alice")
    assert code == 2 and "exists already" in said and (tmp_path / "alice.key").read_bytes() == before


def test_served_with_keys_the_page_moves_and_play_needs_its_key(dinar, bundle, tmp_path):
    for name in ("alice", "eve"):
        dinar("keys", "new", name)
    dinar("keys", "add", "alice", "alice.pub", "--keys", "server")
    with serving(bundle, "--keys", str(tmp_path / "server"), "--page-port", "0") as (endpoint, page):
        from websockets.sync.client import connect

        with connect(page.replace("http", "ws", 1) + "ws", subprotocols=["dinar-live"]) as viewer:
            view = CameraView(
                np.float32([[300, 0, 64], [0, 300, 64], [0, 0, 1]]), np.eye(4, dtype="f4"), 128, 128
            )
            for message, answer in ((Hello({}), Caps), (RenderRequest(1, (view,)), FrameMessage)):
                viewer.send(bytes(encode(message)))
                assert isinstance(decode(viewer.recv(5)), answer), (
                    "the page needs no CURVE key: it is in the server's process"
                )
        access = ("--server-key", "server/server.pub", "--key", "alice.key")
        np.savez("short.npz", poses=np.zeros((15, 165)), trans=np.zeros((15, 3)), mocap_frame_rate=30.0)
        play = ("play", "short.npz", "--connect", endpoint, "--once")
        code, said = dinar(*play, *access)
        assert code == 0 and re.search(r"[1-9]\d* frames", said), said
        for wrong, why in (
            ((), "do not agree on keys"),
            ((*access[:3], "eve.key"), "dinar keys add"),
            (access[:2], "expected both"),
        ):
            code, said = dinar(*play, *wrong)
            assert code == 2 and why in said, said
        with Client(endpoint, server_key="server/server.pub", key="alice.key") as client:
            assert client.capabilities["name"] == "tiny"


def test_demo_with_keys(bundle, tmp_path):
    result = subprocess.run(
        [
            *DINAR,
            "demo",
            bundle,
            "--frames",
            "12",
            "--headless",
            "--size",
            "128",
            "--curve",
            "--out",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0 and "the server's public key is" in result.stdout, result.stderr
    assert (tmp_path / "sheet.png").exists()


def test_keys_for_a_bench_without_a_server_are_refused(dinar, bundle):
    code, said = dinar("bench", bundle, "--curve")
    assert code == 2 and "--scenario single" in said


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_server_does_not_start_with_a_secret_that_others_can_read(dinar, bundle, tmp_path):
    dinar("keys", "list", "--keys", "server")
    (tmp_path / "server" / "server.key").chmod(0o644)
    code, said = dinar("serve", bundle, "--keys", "server", "--no-page", "--endpoint", "tcp://127.0.0.1:0")
    assert code == 2 and "chmod 600" in said
