"""A measurement as JSON and as a table to read."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile

import numpy as np

from dinar_live.runtime.core.errors import InputError

from .measurement import Measurement
from .stats import percentiles, stage_table, thirds, too_few

BUSY = 0.1  # cores' worth of other processes that a note is due for


def summary(
    m: Measurement, machine: dict, versions: dict, revision: str | None, other_load: float | None
) -> dict:
    """What `--json` writes. The first eleven keys are fixed; sizes are [height, width], times ms.

    stale_frames is None in a closed loop: without a clock nothing can be late. other_load: cores busy with
        other processes, None = unknown.
    """
    stale, check, frame = m.staleness, m.check_difference, m.frame_difference
    notes = [*m.notes, *load_notes(other_load, machine)]
    ages = [] if stale is None else stale.age_ms[np.isfinite(stale.age_ms)]
    slowest = int(m.latency_ms.argmax())
    guilty = max(m.stages_ms, key=lambda name: m.stages_ms[name][slowest])
    extra = {k: percentiles(v) if k.endswith("_ms") else v for k, v in m.extra.items()}
    return {
        "scenario": m.scenario,
        "frames": len(m.latency_ms) if m.frames is None else m.frames,
        "fps": m.fps,
        "latency_ms": percentiles(m.latency_ms),
        "stages_ms": stage_table(m.stages_ms),
        "stale_frames": None if stale is None else stale.stale,
        "size": list(m.size),
        "renderer": m.renderer,
        "engine": m.engine,
        "rasterizer": m.rasterizer,
        "yardstick": machine,
        "valid": not m.faults,
        "faults": m.faults,
        "notes": notes,
        "includes": m.includes,
        "precision": m.precision,
        "psnr": {"check_pictures": check and check.psnr, "frames": frame and frame.psnr},
        "max_abs": {"check_pictures": check and check.max_abs, "frames": frame and frame.max_abs},
        "slowest": {"frame": slowest, "stage": guilty, "stage_ms": float(m.stages_ms[guilty][slowest])},
        "thirds_p50_ms": thirds(m.latency_ms),
        "too_few_frames_for": too_few(len(m.latency_ms)),
        **(
            {}
            if stale is None
            else {
                "ticks": stale.ticks,
                "stale_runs": list(stale.runs),
                "longest_stale_run": stale.longest,
                "age_ms": percentiles(ages) if len(ages) else {},
            }
        ),
        **extra,
        "other_load_cores": other_load,
        "versions": versions,
        "revision": revision,
    }


def load_notes(other_load: float | None, machine: dict) -> list[str]:
    """What to say of other processes, if anything."""
    if other_load is None or other_load <= BUSY:
        return []
    return [
        f"other processes kept {other_load:.1f} of {machine['cores']} cores busy meanwhile; measure again on an idle machine"
    ]


def refuse_unwritable(path, option: str = "--json") -> None:
    """InputError if a report could not be written to `path`; asked before the minutes of measuring."""
    path = pathlib.Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(
            f"{option} {path}: {'is a folder' if path.is_dir() else 'its folder does not exist'}, expected the name of a file"
        )
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {path}: no right to write in {path.parent}")


def write_json(path, report: dict) -> None:
    """The whole file or nothing."""
    write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")


def write_text(path, text: str) -> None:
    """The whole file or nothing."""
    path = pathlib.Path(path)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as work:
        try:
            work.write(text)
            work.close()
            os.chmod(work.name, 0o644)
            os.replace(work.name, path)
        except BaseException:
            os.unlink(work.name)
            raise


def lines(r: dict) -> list[str]:
    """The report `r` (see summary) as lines of text."""
    height, width = r["size"]
    few, latency = r["too_few_frames_for"], r["latency_ms"]
    engine = "no network" if r["engine"] == "none" else f"{r['engine']} {r['precision']}"
    out = [
        f"{r['scenario']}: {r['frames']} frames of {width}x{height}, renderer {r['renderer']} ({engine}), rasterizer {r['rasterizer']}",
        f"includes    {r['includes']}",
        "",
        f"fps         {r['fps']:.1f}",
        "latency ms  " + "   ".join(f"{k} {v:.2f}{'*' if k in few else ''}" for k, v in latency.items()),
    ]
    if few:
        out.append(
            f"            * too few frames for {', '.join(few)}: it takes "
            + ", ".join(f"{n} for {k}" for k, n in few.items())
        )
    slowest, one = r["slowest"], "frame" if r["stale_frames"] is None else "tick"
    out.append(
        f"slowest     {one} {slowest['frame']}: {latency['max']:.2f} ms, of which {slowest['stage']} {slowest['stage_ms']:.2f}"
    )
    if r["thirds_p50_ms"]:
        low, high = min(r["thirds_p50_ms"]), max(r["thirds_p50_ms"])
        out.append(
            "by thirds   p50 "
            + ", ".join(f"{v:.2f}" for v in r["thirds_p50_ms"])
            + f"   (spread {100 * (high / low - 1):.0f} %)"
        )
    if r["stale_frames"] is not None:
        share = 100 * r["stale_frames"] / r["ticks"]
        out.append(
            f"stale       {r['stale_frames']} of {r['ticks']} ticks ({share:.2f} %), longest run {r['longest_stale_run']}; "
            f"{r['dropped']} requests without a frame of their own (a newer one took their place)"
            + (f", {r['unanswered']} without any until the end" if r.get("unanswered") else "")
        )
        out.append(
            "frames ms   of those that came, from their own request: "
            + "   ".join(f"{k} {v:.2f}" for k, v in r["frame_latency_ms"].items())
        )
        out.append(
            "age ms      of the newest frame at each tick: "
            + "   ".join(f"{k} {v:.2f}" for k, v in r["age_ms"].items())
        )
    if quality := r.get("quality"):
        made = ", ".join(f"{n} by {name}" for name, n in r["made_by"].items())
        out.append(f"quality     {quality['why']}; {made}; says that it holds {quality['holds']:g} a second")
    if others := r.get("neighbours"):
        ages = "   ".join(f"{k} {v:.2f}" for k, v in others["age_ms"].items())
        out.append(
            f"neighbours  one read {others['reads']} frames, age ms: {ages}; one asked {others['asked']} times and read nothing"
        )
    names = max(len(name) for name in (*r["stages_ms"], *r.get("gpu_stages", ())))
    out += ["", f"{'stage':<{names}}  {'p50 ms':>8}  {'p99 ms':>8}{'*' if 'p99' in few else ''}"]
    out += [f"{name:<{names}}  {s['p50']:>8.3f}  {s['p99']:>8.3f}" for name, s in r["stages_ms"].items()]
    if gpu_stages := r.get("gpu_stages"):
        out += ["", "on the GPU, launched one by one (in a frame's graph they take less)"]
        out += [f"{name:<{names}}  {s['p50']:>8.3f}  {s['p99']:>8.3f}" for name, s in gpu_stages.items()]
    if r["engine"] != "none" and "without_network_ms" in r:
        out.append(f"everything but the network: p50 {r['without_network_ms']['p50']:.2f} ms")
    out += [
        "",
        "images      "
        + "; ".join(
            f"{what} {r['psnr'][key]:.1f} dB, off by at most {r['max_abs'][key]}"
            for key, what in (
                ("check_pictures", "f32 renderer against the bundle's check pictures"),
                ("frames", "sampled frames against the f32 renderer"),
            )
            if r["psnr"][key] is not None
        ),
    ]
    return out + machine_lines(r)


def machine_lines(r: dict) -> list[str]:
    """What the report `r` was measured on, notes and faults, as lines of text."""
    y = r["yardstick"]
    bf16 = "no bf16" if y["conv_gflops_bf16"] is None else f"{y['conv_gflops_bf16']:.0f} in bf16"
    revision = f"; revision {r['revision']}" if r["revision"] else ""
    out = [
        f"yardstick   convolution {y['conv_gflops_f32']:.0f} GFLOP/s in f32, {bf16}; memcpy {y['memcpy_gbps']:.1f} GB/s; "
        f"{y['cpu']}, {y['cores']} cores",
        "versions    " + ", ".join(f"{k} {v}" for k, v in r["versions"].items()) + revision,
    ]
    return out + [f"note: {n}" for n in r["notes"]] + [f"INVALID: {f}" for f in r["faults"]]
