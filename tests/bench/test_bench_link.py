"""A link of its own: what is refused, why it cannot be had, and the program within it."""

import os
import shutil
import subprocess

import pytest

from dinar_live.runtime.bench import link
from dinar_live.runtime.core.errors import InputError


@pytest.mark.parametrize(
    "text",
    [link.DEFAULT_LINK, "delay 20ms rate 50mbit", "loss 0.5% 25%", "delay 10ms 3ms distribution normal"],
)
def test_words_of_netem(text):
    assert link.check_link(text) == text.split()


@pytest.mark.parametrize(
    "text", ["", "delay 10ms; rm -rf x", "$(date)", "delay `id`", "loss 1% && true", "delay 10 ms'"]
)
def test_nothing_else_reaches_the_shell(text):
    with pytest.raises(InputError, match="--link: got"):
        link.check_link(text)


def test_tools_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(link.shutil, "which", lambda tool: None if tool == "tc" else tool)
    assert link.why_not(["delay", "1ms"]).startswith("tc not found")


def test_a_kernel_without_netem_is_said_so(monkeypatch):
    monkeypatch.setattr(link.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(
        link.subprocess,
        "run",
        lambda *of, **more: subprocess.CompletedProcess(
            of, 2, "", "Error: Specified qdisc kind is unknown.\n"
        ),
    )
    assert link.why_not(["delay", "1ms"]).endswith("this kernel has no netem (module sch_netem)")


def test_the_program_runs_within(monkeypatch, tmp_path):
    """In a network namespace, with a stand-in for tc, which needs a kernel with netem."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip (Linux: util-linux and iproute2)")
    tc = tmp_path / "tc"
    tc.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    tc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    words = link.check_link("delay 5ms loss 1%")
    if why := link.why_not(words):
        pytest.skip(f"no network namespace here: {why}")
    assert link.run_within(words, ["--version"]) == 0
    assert (
        tmp_path / "said"
    ).read_text().split() == "qdisc add dev lo root netem delay 5ms loss 1% limit 100000".split()
    assert link.run_within(words, ["nonsense"]) == 2
