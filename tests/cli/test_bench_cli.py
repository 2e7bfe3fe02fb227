"""dinar bench, as it is run from a shell."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from dinar_live.runtime.bench import report

FIXED = [
    "scenario",
    "frames",
    "fps",
    "latency_ms",
    "stages_ms",
    "stale_frames",
    "size",
    "renderer",
    "engine",
    "rasterizer",
    "yardstick",
]


def dinar(*arguments, cwd=None):
    command = [sys.executable, "-m", "dinar_live.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture(scope="module")
def bundle(avatar_with_checks, tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "random"
    avatar_with_checks.save(path)
    return path


def check_schema(r: dict) -> None:
    assert list(r)[: len(FIXED)] == FIXED
    assert list(r["latency_ms"]) == ["p50", "p90", "p95", "p99", "max"]
    values = list(r["latency_ms"].values())
    assert values == sorted(values) and values[0] > 0
    assert r["stages_ms"] and all(
        list(s) == ["p50", "p99"] and s["p50"] <= s["p99"] for s in r["stages_ms"].values()
    )
    assert (
        r["size"] == [96, 128]
        and r["renderer"] == "texture"
        and r["engine"] == "none"
        and r["rasterizer"] == "native"
    )
    slowest = r["slowest"]
    assert (
        0 <= slowest["frame"] < r["frames"]
        and slowest["stage"] in r["stages_ms"]
        and 0 < slowest["stage_ms"] <= values[-1]
    )
    assert {"conv_gflops_f32", "conv_gflops_bf16", "memcpy_gbps", "cpu", "cores"} <= set(r["yardstick"])
    assert r["fps"] > 0 and r["valid"] is True and r["psnr"]["check_pictures"] > 40


def test_single(bundle, tmp_path):
    done = dinar("bench", bundle, "--frames", 40, "--size", "128x96", "--json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    r = json.loads((tmp_path / "out.json").read_text())
    check_schema(r)
    assert (r["scenario"], r["frames"], r["stale_frames"]) == ("single", 40, None)
    assert list(r["too_few_frames_for"]) == ["p95", "p99"] and "too few frames for p95, p99" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]  # nothing half-written is left
    assert "INVALID" not in done.stdout and "fps" in done.stdout and "yardstick" in done.stdout
    for stage in r["stages_ms"]:
        assert re.search(rf"^{stage} +\d", done.stdout, re.MULTILINE)


def test_paced_with_a_server_of_its_own(bundle, tmp_path):
    done = dinar(
        "bench",
        bundle,
        "--scenario",
        "paced",
        "--rate",
        30,
        "--seconds",
        2,
        "--size",
        "128x96",
        "--json",
        tmp_path / "out.json",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    r = json.loads((tmp_path / "out.json").read_text())
    check_schema(r)
    assert r["scenario"] == "paced" and r["ticks"] == 60 == r["frames"] + r["dropped"]
    assert 0 <= r["stale_frames"] <= 60 and sum(r["stale_runs"]) == r["stale_frames"]
    assert {"schedule", "wait", "encode", "decode", "transport", "rasterize"} <= set(r["stages_ms"])
    assert "stale" in done.stdout


def test_wrong_pictures_are_invalid(avatar_with_checks, tmp_path):
    """A check picture that was changed and hashed again: the file is whole, the picture is wrong."""
    changed = np.ascontiguousarray(np.roll(avatar_with_checks.checks.rgba["texture"], 9, axis=2))
    checks = dataclasses.replace(avatar_with_checks.checks, rgba={"texture": changed})
    dataclasses.replace(avatar_with_checks, checks=checks).save(tmp_path / "changed")
    done = dinar("bench", tmp_path / "changed", "--frames", 5, "--size", 96, "--json", tmp_path / "out.json")
    assert done.returncode == 1 and "INVALID: the f32 renderer is" in done.stdout
    r = json.loads((tmp_path / "out.json").read_text())
    assert r["valid"] is False and "check pictures" in r["faults"][0]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--frames", "0"], "--frames: got 0, expected 1"),
        (
            ["--frames", "10", "--scenario", "paced"],
            "--frames: not for --scenario paced, which takes --rate and --seconds",
        ),
        (["--seconds", "10"], "--seconds: not for --scenario single, which takes --frames"),
        (["--scenario", "paced", "--rate", "0"], "--rate 0"),
        (["--scenario", "paced", "--seconds", "nan"], "--seconds nan"),
        (["--scenario", "paced", "--renderer", "dinar"], "renderer: got 'dinar', the avatar has texture"),
        (["--renderer", "dinar"], "renderer: got 'dinar', the avatar has texture"),
        (["--fps", "30"], "--fps: not for --scenario single, which takes --frames"),
        (
            ["--plot", "x.svg", "--scenario", "capacity"],
            "--plot: not for --scenario capacity, which takes --rate",
        ),
        (["--plot", "no/such/x.svg"], "--plot no/such/x.svg: its folder does not exist"),
        (["--scenario", "paced", "--fps", "-3"], "got '-3', expected 1 to 240 frames a second, or 0 for off"),
        (["--scenario", "lossy", "--link", "delay; reboot"], "--link: got 'delay; reboot'"),
        (["--scenario", "compare"], "the renderer texture has no network"),
        (["--scenario", "compare", "--curve"], "--curve: not for --scenario compare"),
        (["--scenario", "capacity", "--seconds", "0"], "--seconds 0: expected more than 0"),
        (["--json", "no/such/folder/out.json"], "--json no/such/folder/out.json: its folder does not exist"),
        (["--json", "."], "--json .: is a folder"),
        (["--motion", "missing.npz"], "missing.npz: no such file"),
        (["--scenario", "multi"], "invalid choice: 'multi'"),
        (["--rate", "fast"], "invalid float value: 'fast'"),
    ],
)
def test_clear_errors(bundle, tmp_path, arguments, says):
    done = dinar("bench", bundle, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_no_such_avatar(tmp_path):
    done = dinar("bench", tmp_path / "nobody")
    assert done.returncode == 2 and "no such avatar" in done.stderr


def test_json_is_whole_or_not_there(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(ValueError):
        report.write_json(path, {"fps": float("nan")})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    report.write_json(path, {"fps": 1.0})
    assert json.loads(path.read_text()) == {"fps": 1.0} and list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_capacity(bundle, tmp_path):
    done = dinar(
        "bench",
        bundle,
        "--scenario",
        "capacity",
        "--rate",
        4,
        "--seconds",
        1,
        "--size",
        64,
        "--json",
        "out.json",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    r = json.loads((tmp_path / "out.json").read_text())
    (found,) = r["capacity"]
    assert r["valid"] and found["rate_hz"] == 4 and found["tries"][0]["clients"] == 1
    assert "4 Hz, 1 clients" in done.stdout and "yardstick" in done.stdout


def test_paced_with_a_choice_and_a_plot(bundle, tmp_path):
    done = dinar(
        "bench", bundle, "--scenario", "paced", "--fps", 10, "--rate", 10, "--seconds", 2, "--size", "128x96", "--json", "out.json",
        "--plot", "out.svg", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    r = json.loads((tmp_path / "out.json").read_text())
    assert r["quality"]["fps"] == 10 and r["quality"]["renderer"] == "texture" and "quality" in done.stdout
    assert sum(r["made_by"].values()) == r["frames"] and "superseded" in r["stages_ms"]
    assert (tmp_path / "out.svg").read_text().startswith("<svg ")


def test_lossy_is_skipped_with_the_reason(bundle, tmp_path, monkeypatch):
    """Where there is no `tc`."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = dinar("bench", bundle, "--scenario", "lossy", "--json", tmp_path / "out.json")
    assert done.returncode == 0 and "lossy: skipped" in done.stdout and "not found" in done.stdout
    assert "not found" in json.loads((tmp_path / "out.json").read_text())["skipped"]
