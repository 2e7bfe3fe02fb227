"""What the report says about the machine and the checkout."""

import shutil
import subprocess
import sys
import time

import pytest

from dinar_live.runtime.bench import yardstick


def git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def checkout(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("no git")
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_revision_of_a_checkout(checkout):
    clean = yardstick.revision(checkout / "a.py")
    assert len(clean) == 12 and int(clean, 16) >= 0
    (checkout / "a.py").write_text("2")
    assert yardstick.revision(checkout / "a.py") == clean + "-dirty"


def test_a_file_that_only_lies_in_a_checkout_has_no_revision_of_it(checkout):
    (checkout / "installed.py").write_text("1")
    assert yardstick.revision(checkout / "installed.py") is None


def test_no_checkout_and_no_git(tmp_path, checkout, monkeypatch):
    assert yardstick.revision(tmp_path / "missing" / "a.py") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert yardstick.revision(checkout / "a.py") is None


def test_versions_and_names():
    found = yardstick.versions()
    assert {"python", "numpy", "openvino", "dinar-live"} <= set(found) and all(found.values())
    assert yardstick.cpu_name() and yardstick.cores() >= 1


def test_best_of_several_readings():
    a = {"conv_gflops_f32": 100.0, "conv_gflops_bf16": None, "memcpy_gbps": 9.0, "cpu": "x", "cores": 2}
    assert yardstick.best(a, {**a, "conv_gflops_f32": 60.0, "memcpy_gbps": 10.0}) == {
        **a,
        "memcpy_gbps": 10.0,
    }


def test_other_load_sees_what_this_process_does_not_do():
    with yardstick.OtherLoad() as own:
        sum(i * i for i in range(3_000_000))
    with yardstick.OtherLoad() as other:
        process = subprocess.Popen(
            [sys.executable, "-c", "while True: pass"]
        )  # waited for only after the block
        time.sleep(1.0)
    process.kill()
    process.wait()
    if own.cores is None:
        pytest.skip("no /proc/stat")
    assert 0 <= own.cores <= yardstick.cores() + 0.1 and other.cores > 0.2


def test_machine_says_how_fast_it_is():
    pytest.importorskip("dinar_live.engines.yardstick")
    m = yardstick.machine()
    assert m["conv_gflops_f32"] > 1 and m["memcpy_gbps"] > 0.1 and m["cores"] >= 1
    assert m["conv_gflops_bf16"] is None or m["conv_gflops_bf16"] > 1
