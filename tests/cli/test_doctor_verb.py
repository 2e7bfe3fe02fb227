"""dinar doctor: green on a plain CPU, one line for the GPU that is not there, and what is broken is found."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dinar_live import doctor, engines
from dinar_live.cli import main as cli
from dinar_live.doctor import BROKEN, MISSING, OK, Finding
from dinar_live.engines import nvidia
from dinar_live.kernels import cuda
from dinar_live.kernels.install import install_line
from dinar_live.runtime import Avatar

NO_DRIVER = "no NVIDIA driver: libcuda.so.1 cannot be loaded; install the driver of your GPU, or use the CPU"


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DINAR_CACHE", raising=False)
    return tmp_path


@pytest.fixture
def no_gpu(monkeypatch):
    def device(index=0):
        raise cuda.CudaError(NO_DRIVER)

    monkeypatch.setattr(cuda, "Device", device)


def found(name, **options) -> Finding:
    return next(f for f in doctor.findings(**options) if f.name == name)


def test_as_a_user_runs_it(tmp_path):
    """The CPU's part is green and the exit code 0, with or without a GPU."""
    done = subprocess.run(
        [sys.executable, "-m", "dinar_live.cli.main", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    by_name = {f["name"]: f for f in report["findings"]}
    assert report["healthy"] and {
        f["state"] for f in report["findings"] if f["part"] in ("cpu", "stream")
    } <= {OK, MISSING}
    for name in ("kernels", "demo avatar", "openvino", "pictures", "sockets", "encryption", "engine cache"):
        assert by_name[name]["state"] == OK, by_name[name]
    assert "1024 MiB" in by_name["memory"]["text"] and by_name["memory"]["state"] == OK
    assert " dB from the bundle" in by_name["pictures"]["text"]
    assert all(bool(f["fix"]) == (f["state"] != OK) for f in report["findings"])


def test_without_a_gpu_it_is_one_line(caches, no_gpu, capsys):
    assert cli.main(["doctor", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    gpu = lines[lines.index("on an NVIDIA GPU") + 1 :]
    assert (
        len([line for line in gpu if line]) == 2
        and "no NVIDIA driver: libcuda.so.1" in gpu[0]
        and gpu[-1] == "nothing is broken"
    )
    assert cli.main(["doctor", "--quick", "--all"]) == 0
    text = capsys.readouterr().out
    assert (
        "-> install the driver of your GPU" in text
        and "research and evaluation only" in text
        and "pypi.nvidia.com" in text
    )


def test_wrong_pictures_are_broken(caches, no_gpu, monkeypatch, capsys):
    avatar = Avatar.demo()
    checks = dataclasses.replace(
        avatar.checks, rgba={name: np.roll(p, 9, 2) for name, p in avatar.checks.rgba.items()}
    )
    monkeypatch.setattr(Avatar, "demo", classmethod(lambda cls: dataclasses.replace(avatar, checks=checks)))
    assert cli.main(["doctor"]) == 1
    assert (
        "BROKEN  pictures" in (text := capsys.readouterr().out)
        and "expected at least 35" in text
        and "broken: pictures" in text
    )


def test_a_missing_engine(caches, no_gpu, monkeypatch):
    monkeypatch.setattr(
        engines,
        "available_engines",
        lambda: {
            "openvino": "engine openvino needs the package openvino: pip install openvino",
            "torch": "engine torch needs the packages torch, onnx: pip install torch onnx",
            "tensorrt": "no",
        },
    )
    broken, missing = found("openvino", self_test=False), found("torch", self_test=False)
    assert broken.state == BROKEN and broken.fix == "pip install openvino"  # the product needs it
    assert missing.state == MISSING and missing.fix == "pip install torch onnx"


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() == 0 and not os.path.isdir("/proc"),
    reason="rights of POSIX folders",
)
def test_caches_that_are_not_private_or_no_folder(caches, no_gpu):
    kernels = caches / "dinar-live" / "kernels"
    kernels.mkdir(parents=True)
    kernels.chmod(0o777)
    finding = found("kernel cache", self_test=False)
    assert finding.state == BROKEN and "others can write" in finding.text and "DINAR_CACHE" in finding.fix
    kernels.rmdir()
    kernels.write_text("a file")
    assert found("kernel cache", self_test=False).state == BROKEN
    (caches / "dinar-live" / "engines").symlink_to(caches)
    finding = found("engine cache", self_test=False)
    assert finding.state == BROKEN and "not a folder" in finding.text


def test_a_gpu_is_described_and_its_backends_are_tried(caches, monkeypatch):
    class Device:
        name, arch, memory, driver_version = "NVIDIA X", "sm_90", 80 << 30, (13, 0)

        def __init__(self, index=0):
            pass

    monkeypatch.setattr(cuda, "Device", Device)
    all_found = {f.name: f for f in doctor.findings() if f.part == "gpu"}
    assert (
        all_found["driver"].state == OK
        and all_found["driver"].text == "NVIDIA X, sm_90, 80 GiB, driver for CUDA 13.0"
    )
    # the device is a fake, so rendering on it fails: as a finding, not as a crash
    assert all_found["pictures"].state == BROKEN and "--device cpu" in all_found["pictures"].fix


def test_a_doctor_survives_anything(caches, no_gpu, monkeypatch):
    monkeypatch.setattr(doctor, "_kernels", lambda: 1 / 0)
    finding = found("kernels", self_test=False)
    assert finding.state == BROKEN and "ZeroDivisionError" in finding.text


@pytest.mark.parametrize(
    "driver, bindings, state, says",
    [
        ((13, 0), "13.0.3", OK, "for drivers of CUDA 13 and newer"),
        ((13, 1), "12.9.4", OK, "for drivers of CUDA 12 and newer"),
        (None, "13.0.3", OK, "for drivers of CUDA 13 and newer"),
        ((12, 8), "13.0.3", BROKEN, "is for CUDA 13, the driver runs CUDA 12.8 and older"),
        ((12, 8), "", MISSING, "cuda-bindings is not installed"),
    ],
)
def test_packages_of_cuda_must_fit_the_driver(caches, no_gpu, monkeypatch, driver, bindings, state, says):
    monkeypatch.setattr(doctor, "driver_cuda", lambda: driver)
    monkeypatch.setattr(nvidia, "driver_cuda", lambda: driver)
    monkeypatch.setattr(doctor, "_version", lambda package: bindings)
    finding = found("packages of CUDA", self_test=False)
    assert finding.state == state and says in finding.text
    if state != OK:
        assert finding.fix == install_line("gpu12")


def test_the_line_that_installs_an_engine_fits_the_driver(monkeypatch):
    rtx = engines.engine_backend("tensorrt-rtx")
    for driver, extra in ((None, "rtx"), ((13, 0), "rtx"), ((12, 4), "rtx12")):
        monkeypatch.setattr(nvidia, "driver_cuda", lambda driver=driver: driver)
        assert rtx.install_here == install_line(extra)
