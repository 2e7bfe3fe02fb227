"""Who performs on which avatar, what the status says, and the recording that runs along."""

import pathlib
import threading
import time

import numpy as np
import pytest

from dinar_live.cli.performers import LiveTake, casting, check_sources, combined, status_line, take_paths
from dinar_live.cli.record import check_path
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.live import FileSource, FirstPerformer
from dinar_live.runtime.live.source import SourceState
from dinar_live.runtime.motion import demo_motion, load_motion


def test_casting():
    assert casting(1, 1) == [([0], [0])]
    assert casting(3, 3) == [([0], [0]), ([1], [1]), ([2], [2])]
    assert casting(3, 1) == [([0, 1, 2], [0])]
    assert casting(1, 2) == [([0], [0, 1])]
    for sources, avatars in ((3, 2), (2, 3)):
        with pytest.raises(InputError, match=f"{avatars} avatars for {sources} sources"):
            casting(sources, avatars)


def test_a_source_twice_is_refused():
    check_sources(["vmc:1", "vmc:2"])
    with pytest.raises(InputError, match="vmc:1 is given twice"):
        check_sources(["vmc:1", "mocopi", "vmc:1"])


def test_one_source_is_itself_and_several_are_the_first_that_performs():
    one, two = FileSource(demo_motion(30)), FileSource(demo_motion(30))
    assert combined([one]) is one and isinstance(combined([one, two]), FirstPerformer)


def test_paths_of_takes(tmp_path):
    assert take_paths(tmp_path / "take.dmot", 1) == [tmp_path / "take.dmot"]
    assert [p.name for p in take_paths(tmp_path / "a.take.dmot", 2)] == ["a.take.1.dmot", "a.take.2.dmot"]
    (tmp_path / "there.dmot").touch()
    for path, words in (
        ("x.npz", "expected .dmot"),
        ("there.dmot", "--overwrite"),
        ("no/x.dmot", "no folder"),
    ):
        with pytest.raises(InputError, match=words):
            check_path(tmp_path / path, "--record", False)
    check_path(tmp_path / "there.dmot", "--record", True)


def test_the_status_line_says_what_is_unknown_and_what_to_do():
    state = SourceState(
        "x", True, 60.0, 9, 1, {"late": 2}, peer="10.0.0.1", unknown=("A", "B", "C", "D", "E")
    )
    line = status_line(state, True)
    assert (
        "live" in line and "late 2" in line and "from 10.0.0.1" in line and "unknown: A, B, C, D, ..." in line
    )
    hinted = SourceState("x", True, 60.0, hint="no Hips come")
    assert status_line(hinted, False) == "no Hips come"
    assert "60.0 Hz" in status_line(hinted, True) and status_line(hinted, True).endswith("no Hips come")


def wait_for(ready, seconds=20):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_take_beside_the_show_is_what_was_performed(tmp_path):
    motion, out = demo_motion(30), tmp_path / "take.dmot"
    with FileSource(motion) as source:
        take = LiveTake(source, out, smooth=None, overwrite=False, name="file:demo")
        wait_for(lambda: take._take.recorder is not None and take._take.recorder.frames >= 15)
        take.close()
        take.close()
    clip = load_motion(out)
    assert not take.failed and f"{out}:" in take.summary() and clip.frames >= 12
    error = [np.abs(motion.body - body).max(axis=(1, 2)).min() for body in clip.body]
    assert max(error) < 0.2  # a file's source interpolates between its frames


def test_a_take_without_a_performer_leaves_no_file(tmp_path):
    source = FileSource(demo_motion(30))  # not started
    take = LiveTake(source, tmp_path / "take.dmot", smooth=None, overwrite=False, name="x")
    take.close()
    assert "nothing was recorded" in take.summary() and not list(tmp_path.iterdir())


def test_a_take_that_cannot_be_written_says_so_and_ends(tmp_path, capsys):
    gone = tmp_path / "gone"
    with FileSource(demo_motion(30)) as source:
        take = LiveTake(source, gone / "take.dmot", smooth=None, overwrite=False, name="x")
        wait_for(lambda: take.failed)
        take.close()
    assert "the recording ends here" in capsys.readouterr().err and isinstance(gone, pathlib.Path)
    assert not any(t.name == "dinar-take" for t in threading.enumerate())
