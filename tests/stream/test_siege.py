"""A short siege of a real server; `python tests/stream/siege.py 600` is the long one."""

import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, stops processes"),
]


def test_a_server_outlasts_floods_kills_and_stops():
    script = pathlib.Path(__file__).with_name("siege.py")
    done = subprocess.run([sys.executable, script, "20"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] > 5 and report["killed"] > 5 and all(report["attackers"].values())
