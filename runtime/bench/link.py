"""A bad link: this program once more, in a network of its own whose loopback delays and loses packets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from dinar_live.runtime.core.errors import InputError

from .measurement import Measurement

INSIDE = "DINAR_BENCH_LINK"  # set in the process that runs within
DEFAULT_LINK = "delay 10ms 3ms loss 1%"
MTU = 1500  # of the loopback in there, as on a cable; its usual 65,536 would lose whole frames at a time
_WORD = re.compile(r"[a-z]+|[0-9]+(\.[0-9]+)?(%|us|ms|s|bit|kbit|mbit|gbit)?")
_PROBE_SECONDS = 15


def check_link(text: str) -> list[str]:
    """The words of a description for netem, such as "delay 10ms 3ms loss 1% rate 50mbit". Raises InputError."""
    words = text.split()
    if not words or not all(_WORD.fullmatch(word) for word in words):
        raise InputError(
            f"--link: got {text!r}, expected what tc-netem(8) takes, such as {DEFAULT_LINK!r} or 'delay 20ms rate 50mbit'"
        )
    return words


def within() -> str | None:
    """The link that this process runs in, None outside."""
    return os.environ.get(INSIDE)


def _script(words: Sequence[str]) -> str:
    return f"ip link set lo mtu {MTU} && ip link set lo up && tc qdisc add dev lo root netem {' '.join(words)} limit 100000"


def _namespace() -> list[str]:
    """A network of its own, for whoever may make one; a user's own only as the root of a namespace."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return ["unshare", "--net"] if root else ["unshare", "--user", "--map-root-user", "--net"]


def why_not(words: Sequence[str]) -> str | None:
    """Why such a link cannot be made here; None where it can. Tries it."""
    missing = [tool for tool in ("unshare", "ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not found (Linux: util-linux and iproute2)"
    command = [*_namespace(), "sh", "-c", _script(words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as e:
        return str(e)
    if done.returncode == 0:
        return None
    said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    hint = "; this kernel has no netem (module sch_netem)" if "qdisc kind is unknown" in said else ""
    return f"{said}{hint}"


def run_within(words: Sequence[str], arguments: Sequence[str]) -> int:
    """Runs `dinar` with `arguments` behind such a link; its exit code."""
    command = [*_namespace(), "sh", "-c", f'{_script(words)} && exec "$@"', "sh"]
    command += [sys.executable, "-m", "dinar_live.cli.main", *arguments]
    return subprocess.run(command, env=os.environ | {INSIDE: " ".join(words)}, check=False).returncode


def told(m: Measurement) -> Measurement:
    """A paced measurement that was made within, as one of its own."""
    text = f"{m.includes}; each packet, both ways: {within()}"
    return replace(m, scenario="lossy", includes=text, extra=m.extra | {"link": within()})
