"""The ffmpeg program: where it is, which encoder of it works, and the command line that makes a file.

It is run as a separate program, over pipes: nothing of it is linked with this package, and none comes with it.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

TRIAL_SIZE = 256  # pixels; encoders of graphics cards refuse smaller pictures
TRIAL_SECONDS = 30.0
INSTALL = "install ffmpeg (apt, brew, winget), or: pip install imageio-ffmpeg"

H264 = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")
"""Encoders by preference: the last two are those of macOS and Windows."""
VP9 = ("libvpx-vp9",)
_BITRATE = 0.25  # bits for each pixel of each frame, for encoders without a scale of quality

# What players take for granted when they show a picture: limited range, BT.709 (ITU-R BT.709-6, ISO/IEC 23091-2).
_COLOUR = (
    *("-color_range", "tv", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
)
_TO_YUV = (
    "scale=in_range=full:out_range=limited:out_color_matrix=bt709,format={format},"
    "setparams=range=limited:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
)


@dataclass(frozen=True)
class Encoder:
    """program: path of ffmpeg. codec: its encoder. where: "on the path" or the package that brought it."""

    program: str
    codec: str
    where: str

    def __str__(self) -> str:
        kind = "VP9" if self.codec in VP9 else "H.264"
        return f"{kind} ({self.codec}, ffmpeg {self.where})"


def programs() -> Iterator[tuple[str, str]]:
    """(path, where) of every ffmpeg to try."""
    if path := shutil.which("ffmpeg"):
        yield path, "on the path"
    try:
        import imageio_ffmpeg

        yield imageio_ffmpeg.get_ffmpeg_exe(), "of imageio-ffmpeg"
    except (ImportError, RuntimeError, OSError):
        pass


def find_encoder(codecs: Sequence[str]) -> tuple[Encoder | None, str]:
    """The first encoder that works, tried with a short clip; else None and why there is none, for people."""
    reasons = []
    for program, where in programs():
        for codec in codecs:
            if not (reason := _trial(program, codec)):
                return Encoder(program, codec, where), ""
            if not reasons or reasons[-1][0] != program:
                reasons.append((program, f"{program}: {reason}"))
    return None, "; ".join(text for _, text in reasons) or "there is no ffmpeg"


@functools.cache
def _trial(program: str, codec: str) -> str:
    """ "" when `codec` of `program` encodes, else why not."""
    size, form = (TRIAL_SIZE, TRIAL_SIZE), ("-f", "null")
    try:
        done = subprocess.run(
            [*_input(program, size, 30.0), *_encode(codec, size, 30.0, False), *form, "-"],
            input=bytes(4 * TRIAL_SIZE * TRIAL_SIZE),
            capture_output=True,
            timeout=TRIAL_SECONDS,
            **quiet(),
        )
    except (OSError, subprocess.SubprocessError) as e:
        return f"cannot be run ({' '.join(str(e).split())})"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else said[-1] if said else f"exit code {done.returncode}"


def command(
    encoder: Encoder, size: tuple[int, int], fps: float, alpha: bool, url: str, form: str
) -> list[str]:
    """The command that reads raw RGBA frames of `size` (height, width), both even, from its input, and makes
    the file. form: mp4 or webm. alpha: of a WebM."""
    index = ("-movflags", "+faststart") if form == "mp4" else ()  # the index in front: plays while it loads
    return [
        *_input(encoder.program, size, fps),
        *_encode(encoder.codec, size, fps, alpha),
        *index,
        *("-f", form, url),
    ]


def count_command(program: str, url: str) -> list[str]:
    """The command that prints how many frames of a file can be read (as frame=N), without decoding them."""
    return [
        *(program, "-hide_banner", "-nostdin", "-v", "error", "-i", url, "-map", "0:v:0", "-c", "copy"),
        *("-f", "null", "-progress", "pipe:1", "-"),
    ]


def quiet() -> dict:
    """Arguments of subprocess: no console window, and no Ctrl-C of ours."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _input(program: str, size: tuple[int, int], fps: float) -> list[str]:
    rate = Fraction(fps).limit_denominator(10_000)
    return [
        *(program, "-hide_banner", "-nostats", "-loglevel", "error", "-y", "-f", "rawvideo"),
        *("-pix_fmt", "rgba", "-s", f"{size[1]}x{size[0]}", "-framerate", str(rate), "-i", "pipe:0"),
    ]


def _encode(codec: str, size: tuple[int, int], fps: float, alpha: bool) -> list[str]:
    bits = str(max(1_000_000, round(size[0] * size[1] * fps * _BITRATE)))
    quality = {
        "libx264": ("-preset", "veryfast", "-crf", "17", "-profile:v", "high"),
        # Two passes would look better, but frames come once. Without -auto-alt-ref 0 it refuses alpha.
        "libvpx-vp9": (
            *("-b:v", "0", "-crf", "20", "-deadline", "realtime", "-cpu-used", "7", "-row-mt", "1"),
            *("-auto-alt-ref", "0"),
        ),
    }.get(codec, ("-b:v", bits))
    pixels = "yuva420p" if alpha else "yuv420p"
    keys = ("-g", str(max(1, round(2 * fps))))  # seconds between pictures that a player can jump to
    return [
        "-vf",
        _TO_YUV.format(format=pixels),
        "-c:v",
        codec,
        "-pix_fmt",
        pixels,
        *quality,
        *keys,
        *_COLOUR,
    ]
