"""What benchmarks/gpu_check.py compares: kernels, frames, memory, and the way through a server."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
from gpu_report import Check, middle_and_tail
from tqdm import tqdm

from dinar_live import kernels
from dinar_live.kernels.cuda import NvdiffrastRasterizer
from dinar_live.runtime import Avatar, Renderer
from dinar_live.runtime.bench import images
from dinar_live.runtime.bench.workload import Shot

LBS_METRES = 1e-5
ODD_PIXELS = {"native": 1e-5, "nvdiffrast": 5e-3}  # nvdiffrast snaps to 1/16 pixel: outlines and seams move
GATHER_F32 = 2e-3  # of random texels; what the last bits of a texture coordinate make of them
FRAME_PSNR = images.FRAME_PSNR
GROWTH_BYTES = {"device": 1 << 20, "host": 16 << 20}
ROOT = pathlib.Path(__file__).parents[1]
LOOP_MS = 2.0  # pose in to frame out over loopback


def kernel_checks(
    gpu, avatar: Avatar, size: tuple[int, int], work: list[Shot], rasterizer: str
) -> list[Check]:
    """The CUDA kernels against the CPU's, on the poses of `work`; with nvdiffrast only what it changes."""
    cuda, device, program, stream = gpu.cuda, gpu.device, gpu.program, gpu.stream
    rig, spec = avatar.rig, next(iter(avatar.renderers.values()))
    body, _ = gpu.body(rig)
    scene, texture = gpu.scene(rig, spec, np.float32), spec.float_texture()
    parameters, target = (
        cuda.FrameParameters(device, body.joints, body.expressions),
        cuda.RasterTarget(device, *size, len(rig.faces)),
    )
    projective, vertices = (
        device.empty((1, body.vertices, 3), np.float32),
        device.empty((body.vertices, 3), np.float32),
    )
    features, depth = (
        device.empty((1, texture.shape[2] + 3, *size), np.float32),
        device.empty((1, *size), np.float32),
    )
    outside = NvdiffrastRasterizer(program) if rasterizer == "nvdiffrast" else None
    worst, odd, gathered, deep = 0.0, 0, 0.0, 0.0
    for pose, camera in work:
        host = parameters.host
        host["body"][...] = pose.body
        host["transl"][...] = pose.transl
        host["matrices"][0] = camera.matrix
        host["origins"][...] = 0
        host["expression"][...] = 0
        host["expression"][: len(pose.expression)] = pose.expression
        parameters.upload(stream)
        program.run(stream, program.lbs(body, parameters, projective, vertices))
        if outside is None:
            program.run(stream, program.rasterize(scene, parameters, projective, target))
        else:
            outside.rasterize(stream, scene, parameters, projective, target)
        program.run(stream, program.gather(scene, parameters, projective, target, features, depth))
        world = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)
        worst = max(worst, float(np.abs(vertices.numpy(stream) - world).max()))
        # the same vertices for both, so that each kernel is judged by itself
        points = projective.numpy(stream)[0]
        raster = kernels.rasterize(points, rig.faces, size)
        ids = (target.visibility.numpy(stream)[0] & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
        same = ids == raster.triangle_id
        odd += int((~same).sum())
        want = kernels.gather_uv(raster, rig.uv, rig.uv_faces, texture)
        gathered = max(gathered, float(np.abs(features.numpy(stream)[0] - want)[:, same].max()))
        deep = max(deep, float(np.abs(depth.numpy(stream)[0] - raster.depth)[same].max()))
    share, limit = odd / (len(work) * size[0] * size[1]), ODD_PIXELS[rasterizer]
    checks = [
        Check(
            f"rasterize, {rasterizer}",
            share <= limit,
            f"{share:.1e} of the pixels show another triangle (at most {limit:g})",
        )
    ]
    if outside is None:
        checks = [
            Check("lbs", worst <= LBS_METRES, f"vertices within {worst:.1e} m (at most {LBS_METRES:g})"),
            *checks,
            Check(
                "gather",
                gathered <= GATHER_F32 and deep <= 1e-4,
                f"features within {gathered:.1e}, depth within {deep:.1e} m",
            ),
        ]
    return checks


def frames_agree(avatar: Avatar, size, work: list[Shot], options: dict) -> list[Check]:
    """Frames of this backend against the CPU's in float32, and its graphs against single launches."""
    label = ", ".join(options.values())
    common = {"device": "cuda", "background_compile": False, **options}
    with (
        Renderer(avatar, size, **common) as renderer,
        Renderer(avatar, size, **common, stage_times=True) as eager,
    ):
        level = renderer.describe().rpartition("engine ")[2]
        kept, apart = [], 0
        for pose, camera in work:
            rgba = renderer.render(pose, camera).rgba
            apart = max(apart, int(np.abs(rgba.astype(np.int16) - eager.render(pose, camera).rgba).max()))
            kept.append((pose, camera, rgba.copy()))
    difference = images.References(avatar, {"renderer": options["renderer"]}).frames(kept, size)
    assert difference is not None  # there are frames
    psnr, graphs = difference.psnr, "single launches" not in level
    return [
        Check(
            f"frames: {label}",
            psnr >= FRAME_PSNR,
            f"{psnr:.1f} dB from float32 on the CPU, at least {FRAME_PSNR:g}",
        ),
        Check(
            f"graph: {label}",
            graphs and apart <= 1,
            f"{level}; replayed within {apart} of 255 of single launches",
        ),
    ]


def memory_check(
    gpu, avatar: Avatar, size, name: str, work: list[Shot], frames: int, deadline: float
) -> list[Check]:
    """Render `frames` frames after a first round, fewer where time.monotonic() reaches `deadline`, and compare what is
    allocated on the device and on the host."""
    with Renderer(avatar, size, renderer=name, device="cuda", background_compile=False) as renderer:
        for shot in work * 4:
            renderer.render(*shot)
        free, resident = gpu.device.free_memory(), _resident()
        for i in tqdm(range(frames), desc="memory", unit="frame", disable=None, leave=False):
            renderer.render(*work[i % len(work)])
            if time.monotonic() > deadline:
                frames = i + 1
                break
        grown = {"device": free - gpu.device.free_memory(), "host": _resident() - resident}
    return [
        Check(
            f"memory, {frames} frames",
            all(grown[k] <= limit for k, limit in GROWTH_BYTES.items()),
            ", ".join(f"{k} grew by {v / 2**20:.1f} MiB" for k, v in grown.items()),
        )
    ]


def _resident() -> int:
    try:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0  # no Linux: only the device is judged


def loop_check(avatar: Avatar, size, name: str, work: list[Shot], frames: int) -> list[Check]:
    """Pose in to frame out through a server on 127.0.0.1, JPEG."""
    from dinar_live.runtime.service.avatar_service import AvatarService
    from dinar_live.runtime.stream import Client, Server

    with AvatarService(avatar, size=size, renderer=name, device="cuda", background_compile=False) as service:
        service.warm_up()
        with Server(service.render, service.capabilities()) as server, Client(server.endpoint) as client:
            times = []
            for i in range(frames + 20):
                began = time.perf_counter()
                client.render(*work[i % len(work)])
                times.append((time.perf_counter() - began) * 1e3)
    p = middle_and_tail(np.array(times[20:]))
    passed = p["p50"] <= LOOP_MS if size == (512, 512) else None
    text = f"p50 {p['p50']:.2f} ms, at most {LOOP_MS:g} at 512x512; p99 {p['p99']:.2f} ms"
    return [Check(f"over 127.0.0.1, {name}", passed, text)]


def tests_check(paths: list[str], seconds: float) -> list[Check]:
    """pytest -m gpu on these paths of the checkout, in a process of its own, for at most so long."""
    if importlib.util.find_spec("pytest") is None:
        raise ModuleNotFoundError("pytest is not installed", name="pytest")
    command = [sys.executable, "-P", "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *paths]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as tests:
        try:
            said, _ = tests.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            tests.kill()
            said, _ = tests.communicate()
            wrong = len(re.findall(r"^FAILED|^ERROR| FAILED", said, re.M))
            done = sum(said.count(sign) for sign in ".")
            return [
                Check("pytest -m gpu", None, f"not ended after {seconds:.0f} s ({done} dots, {wrong} failed)")
            ]
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.M)
    last = [line for line in said.splitlines() if line.strip()][-1:] or ["it said nothing"]
    text = f"{last[0].strip('= ')}{'; ' if failed else ''}{', '.join(failed[:8])}"
    return [Check("pytest -m gpu", tests.returncode == 0, text)]
