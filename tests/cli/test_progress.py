"""Progress in a log: whole lines with a unit, now and then; a bar on a terminal."""

import io
import sys

import pytest

from dinar_live.cli import progress
from dinar_live.cli.common import TrainingBar
from dinar_live.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def log(monkeypatch, capsys):
    """What was written since."""
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    return lambda: capsys.readouterr().err


def test_a_log_gets_lines(log):
    for _ in Progress(range(3), unit="frame", desc="teacher light", miniters=1):
        pass
    text = log()
    lines = text.splitlines()
    assert lines[-1].startswith("teacher light: 3 of 3 frames in 00:0") and "\r" not in text
    assert len(lines) >= 3


def test_what_cannot_be_counted_has_no_total(log):
    for _ in Progress((x for x in range(2)), unit="frame", miniters=1):
        pass
    assert log().splitlines()[-1].startswith("2 frames in 00:0")


def test_short_work_is_silent_in_a_log(monkeypatch):
    monkeypatch.setattr(sys, "stderr", made := io.StringIO())
    list(Progress(range(5), unit="frame"))
    assert made.getvalue() == ""


def test_training_says_its_step_and_loss(log):
    with TrainingBar(20) as bar:
        for step in range(1, 21):
            bar(step, 0.25)
    text = log()
    assert "training: 20 of 20 steps in 00:0" in text and "loss=0.2500" in text


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", made := Terminal())
    list(Progress(range(5), unit="frame"))
    assert "\r" in made.getvalue() and "5/5" in made.getvalue()
