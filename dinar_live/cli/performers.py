"""Who performs on which avatar in `dinar live`: sources, avatars, takes and what is said of them."""

from __future__ import annotations

import pathlib
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.live import FirstPerformer, Follower
from dinar_live.runtime.live.registry import form_of
from dinar_live.runtime.live.source import Source, SourceState
from dinar_live.runtime.stream import Server

from .record import POLL_SECONDS, Take
from .serve import check

STATUS_SECONDS = 1.0
_SHOWN_NAMES = 4  # unknown ones, in the status line


@dataclass(frozen=True)
class Performer:
    """A source and the avatars that follow it. name: as given on the command line. smooth: Hz of the One-Euro filter
    on its poses, None = none."""

    name: str
    source: Source
    followers: tuple[Follower, ...]
    smooth: float | None = None

    @property
    def following(self) -> bool:
        return self.followers[0].following


def casting(sources: int, avatars: int) -> list[tuple[list[int], list[int]]]:
    """Which sources move which avatars: pairs of numbers of sources and of avatars. As many of both: one each. One
    avatar: the first source that performs moves it. One source: it moves every avatar. Raises InputError for
    anything else."""
    if sources == avatars:
        return [([i], [i]) for i in range(sources)]
    if avatars == 1 or sources == 1:
        return [(list(range(sources)), list(range(avatars)))]
    raise InputError(
        f"--avatar: got {avatars} avatars for {sources} sources, expected one for each source, in their order, or one for all "
        "(the first that performs moves it)"
    )


def check_sources(texts: Sequence[str]) -> None:
    """Raises InputError for a source that is given twice."""
    for i, text in enumerate(texts):
        if text in texts[:i]:
            raise InputError(
                f"SOURCE: {text} is given twice, expected another port or address for each performer"
            )


def combined(sources: Sequence[Source]) -> Source:
    """The one source, or the first of several that performs."""
    return sources[0] if len(sources) == 1 else FirstPerformer(sources)


def take_paths(out: pathlib.Path, count: int) -> list[pathlib.Path]:
    """take.dmot for one performer; take.1.dmot and so on for several."""
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}.{i}{out.suffix}") for i in range(1, count + 1)]


def status_line(state: SourceState, following: bool) -> str:
    """The state of a source in one line: rate, what was lost, calibration, who, what to do next; the latter alone
    while nothing performs."""
    if state.hint and not following:
        return state.hint
    drops = ", ".join(f"{reason} {count}" for reason, count in sorted(state.drops.items()))
    calibration = {"none": "not needed"}.get(state.calibration, state.calibration)
    who = f"   from {state.peer}" if state.peer else ""
    names = ", ".join(state.unknown[:_SHOWN_NAMES]) + (", ..." if len(state.unknown) > _SHOWN_NAMES else "")
    unknown = f"   unknown: {names}" if names else ""
    hint = f"   {state.hint}" if state.hint else ""
    doing = "live" if following else "standing by"
    return (
        f"{doing}   {state.rate_hz:5.1f} Hz   gaps {state.gaps}   dropped {drops or 0}   calibration {calibration}{who}"
        f"{unknown}{hint}"
    )


def show(performers: Sequence[Performer], server: Server, stop: threading.Event) -> None:
    """Prints the status until told to stop: what is new at once, the figures each second on a terminal and
    each ten elsewhere. Several performers have a line each."""
    terminal = sys.stdout.isatty()
    every = STATUS_SECONDS if terminal else 10 * STATUS_SECONDS
    said: dict[int, tuple] = {}
    said_s = dict.fromkeys(range(len(performers)), 0.0)
    while not stop.wait(0.2):
        check(server)
        now = time.monotonic()
        for i, performer in enumerate(performers):
            state = performer.source.state
            following = performer.following
            news = (
                state.hint.partition(":")[0],
                state.calibration,
                state.connected,
                following,
                bool(state.unknown),
            )
            if news == said.get(i) and now - said_s[i] < every:
                continue
            line = status_line(state, following)
            if len(performers) > 1:
                line = f"{performer.name}: {line}"
            same = terminal and not state.hint and len(performers) == 1
            print(f"{line:<110}", end="\r" if same else "\n", flush=True)
            said[i], said_s[i] = news, now


def calibrate_on_enter(named: Sequence[tuple[str, Source]]) -> None:
    """Reads lines: Enter alone takes everybody's T-pose, a number and Enter that of one. Does nothing without a
    terminal or where nobody is calibrated."""
    able = [(i, name, source) for i, (name, source) in enumerate(named, 1) if calibrates(name)]
    if not able or not sys.stdin.isatty():
        return
    if len(named) == 1:
        print("press Enter to take the performer's pose as the T-pose")
    else:
        numbers = ", ".join(f"{i} for {name}" for i, name, _ in able)
        print(f"press Enter to take everybody's pose as the T-pose, or a number and Enter ({numbers})")

    def listen() -> None:
        for line in sys.stdin:
            for i, _, source in able:
                if line.strip() in ("", str(i)):
                    source.calibrate()

    threading.Thread(target=listen, daemon=True).start()


def calibrates(text: str) -> bool:
    """Whether the source of this form may ask for a T-pose."""
    form = form_of(text)
    return form is not None and form.calibrates


class LiveTake:
    """Records a started source while it drives, on a thread of its own, from its first sample to `close`.

    smooth: see `Take`. What cannot be recorded is said once and ends the recording, not the show.
    """

    def __init__(
        self, source: Source, out: pathlib.Path, *, smooth: float | None, overwrite: bool, name: str
    ):
        self.out = out
        self.failed = ""
        self._source = source
        self._take = Take(out, smooth=smooth, overwrite=overwrite, name=name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dinar-take", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL_SECONDS):
                skeleton, sample = self._source.skeleton, self._source.read()
                if (
                    sample is not None
                    and skeleton is not None
                    and len(sample.expression) == len(skeleton.expression_names)
                ):
                    self._take.add(sample, skeleton)
        except DinarError as e:
            self._fail(e)

    def _fail(self, e: DinarError) -> None:
        if not self.failed:
            self.failed = str(e)
            print(f"\nthe recording ends here: {e}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Finishes the file. May be called twice."""
        self._stop.set()
        self._thread.join()
        try:
            self._take.close()
        except DinarError as e:
            self._fail(e)

    def summary(self) -> str:
        """What came of it, in one line."""
        recorder = self._take.recorder
        if recorder is None or not recorder.frames:
            return f"{self.out}: nothing came, nothing was recorded"
        return f"{self.out}: {recorder.frames} frames, {recorder.seconds:.2f} s"
