"""What a figure was measured on: the machine's speed at fixed work, its names and versions."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import time
from functools import partial

PACKAGES = ("dinar-live", "numpy", "openvino", "opencv-python-headless", "pyzmq", "torch")


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass  # no Linux: the platform module knows
    return platform.processor() or platform.machine() or "unknown"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Python's and the packages' versions; packages that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def revision(file: str | os.PathLike = __file__) -> str | None:
    """The git revision of the checkout that `file` is part of ('-dirty' with changes); None outside of a
    checkout or without git."""
    file = pathlib.Path(file)
    git = partial(subprocess.run, cwd=file.parent, capture_output=True, text=True, timeout=10, check=False)
    try:
        # An installed copy may lie in somebody else's checkout, in whose virtual environment it is: then git
        # does not track it.
        if git(["git", "ls-files", "--error-unmatch", file.name]).returncode:
            return None
        result = git(["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"])
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


class OtherLoad:
    """How many cores were busy with other processes inside the `with` block: `cores`, None where the system
    does not say (no Linux).

    Children count as ours once they were waited for inside of the block. In a container the system's figure
    is that of the whole host.
    """

    cores: float | None = None

    def __enter__(self) -> OtherLoad:
        self._start = self._read()
        return self

    def __exit__(self, *exc) -> None:
        end = self._read()
        if self._start and end:
            wall, busy, ours = (b - a for a, b in zip(self._start, end, strict=True))
            self.cores = max(0.0, (busy - ours) / wall) if wall > 0 else None

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        try:
            ticks = [int(n) for n in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        except OSError:
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
        own = os.times()
        return (
            time.monotonic(),
            (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"),
            own.user + own.system + own.children_user + own.children_system,
        )


def machine() -> dict:
    """The `yardstick` of a report: conv_gflops_f32, conv_gflops_bf16 (None where the CPU has none),
    memcpy_gbps, cpu, cores."""
    from dinar_live.engines.yardstick import yardstick

    return {**yardstick(), "cpu": cpu_name(), "cores": cores()}


def best(*machines: dict) -> dict:
    """The fastest figures of several readings of `machine`: anything else that runs can only slow it down."""
    return {
        key: max(values) if None not in (values := [m[key] for m in machines]) else None
        for key in machines[0]
    }
