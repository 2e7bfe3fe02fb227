"""How fast BVH files are read, and with how much memory: python benchmarks/bvh_reading.py FILE.bvh [--mb 25 124]

The file's rows are repeated until the copy is as large as asked. Three readings are measured, each in a process of
its own: the numbers (`read_clip`), all poses (`read_bvh`) and a whole retargeting (`load_motion`). For comparison the
same rows go through numpy's own reader of text, at once and without anything around it. On a busy machine look at
the ratio, and at MB/s of processor time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pathlib
import re
import sys
import tempfile
import threading
import time

import numpy as np

READINGS = ("numpy", "read_clip", "read_bvh", "load_motion")
_COUNT = re.compile(r"(Frames:\s*)(\d+)")


def repeated(source: pathlib.Path, megabytes: float, out: pathlib.Path) -> None:
    """Writes a file of about so many megabytes with the rows of `source` again and again."""
    text = source.read_text()
    begin = text.index("\n", text.index("Frame Time")) + 1
    rows = text[begin:].rstrip() + "\n"
    times = max(1, round(megabytes * 1e6 / len(rows)))
    header = _COUNT.sub(lambda m: f"{m[1]}{int(m[2]) * times}", text[:begin])
    with out.open("w") as file:
        file.write(header)
        for _ in range(times):
            file.write(rows)


def resident() -> int:
    """Bytes of memory that this process holds now (Linux)."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def numpy_only(path: pathlib.Path) -> np.ndarray:
    text = path.read_text()
    return np.fromstring(text[text.index("\n", text.index("Frame Time")) :], np.float64, sep=" ")


def measure(reading: str, path: pathlib.Path, queue) -> None:
    """Puts seconds, processor seconds and bytes of memory at the peak, beyond what the imports take."""
    from dinar_live.runtime.motion import load_motion
    from dinar_live.runtime.motion.bvh import read_bvh, read_clip

    call = {"numpy": numpy_only, "read_clip": read_clip, "read_bvh": read_bvh, "load_motion": load_motion}
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began, busy = time.perf_counter(), time.process_time()
    result = call[reading](path)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    done.set()
    watcher.join()
    peak[0] = max(peak[0], resident())
    del result
    queue.put((seconds, busy, peak[0] - before))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--mb", type=float, nargs="+", default=[25.0, 124.0])
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(
        f"{'MB':>6} {'reading':<12} {'MB/s':>6} {'MB/s of CPU':>12} {'memory / file':>14} {'CPU / numpy':>12}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in args.mb:
            path = pathlib.Path(folder) / "long.bvh"
            repeated(args.file, megabytes, path)
            size, reference = path.stat().st_size, None
            for reading in READINGS:
                queue = context.Queue()
                process = context.Process(target=measure, args=(reading, path, queue))
                process.start()
                seconds, busy, memory = queue.get(timeout=600)
                process.join()
                reference = busy if reference is None else reference
                print(
                    f"{size / 1e6:6.1f} {reading:<12} {size / 1e6 / seconds:6.1f} {size / 1e6 / busy:12.1f} "
                    f"{memory / size:14.2f} {busy / reference:12.2f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
