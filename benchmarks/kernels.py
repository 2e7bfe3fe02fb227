"""Time the kernels on the open body, next to a numpy, OpenCV or torch way of the same.

    python benchmarks/kernels.py [--json FILE] [--runs 200] [--size 512]

One thread and all cores; minimum and median over many runs after warm-up, in milliseconds. The yardsticks at
the end say how fast the machine is, so that figures can be compared.
"""

import argparse
import importlib.resources
import json
import pathlib
import statistics
import time

import cv2
import numpy as np

from dinar_live.kernels import BodyModel, Raster, _cpu, compose, gather_uv, lbs, project, rasterize

CHANNELS = 24
TARGETS = {"lbs": 1.0, "rasterize": 2.0, "gather_uv": 2.5}  # ms, one thread, 512x512


def measure(function, runs):
    """(minimum, median) in ms."""
    for _ in range(3):
        function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times), statistics.median(times)


def load_open_body():
    with importlib.resources.files("dinar_live.runtime").joinpath("assets/open_body.npz").open("rb") as f:
        b = dict(np.load(f, allow_pickle=False))
    regressor = np.zeros((len(b["parents"]), len(b["v_template"])), np.float32)
    regressor[b["J_regressor_row"], b["J_regressor_col"]] = b["J_regressor_val"]
    dirs = b["exprdirs"].astype(np.float32)
    moving = np.flatnonzero(np.abs(dirs).max((1, 2)) > 0).astype(np.int32)
    model = BodyModel(
        b["v_template"],
        regressor @ b["v_template"],
        b["parents"],
        b["lbs_idx"].astype(np.uint16),
        b["lbs_w"],
        moving,
        np.ascontiguousarray(dirs[moving]),
        np.einsum("jv,vce->jce", regressor, dirs).astype(np.float32),
    )
    uv = b["uv"] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)  # the file has v up
    return model, b["faces"], uv, b["uv_faces"]


def numpy_lbs(model, weights, body, transl, expression):
    """The usual dense formulation in float32."""
    rest = model.vertices.copy()
    rest[model.expression_vertex] += model.expression_dirs @ expression
    joints = model.joints + model.expression_joint_dirs @ expression
    world = np.zeros((len(joints), 4, 4), np.float32)
    for j, p in enumerate(model.parents):
        local = np.eye(4, dtype=np.float32)
        local[:3, :3] = cv2.Rodrigues(body[j].astype(np.float64))[0]
        local[:3, 3] = joints[j] - (joints[p] if p >= 0 else 0)
        world[j] = local if p < 0 else world[p] @ local
    world[:, :3, 3] -= np.einsum("jab,jb->ja", world[:, :3, :3], joints)
    blended = (weights @ world[:, :3].reshape(len(joints), 12)).reshape(-1, 3, 4)
    return np.einsum("vab,vb->va", blended[..., :3], rest) + blended[..., 3] + transl


def opencv_rasterize(projective, faces, size):
    """Painter's algorithm with OpenCV: ids only, drawn back to front, one call per triangle; edges
    overlap."""
    px = projective[:, :2] / projective[:, 2:]
    corners = px[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    front = np.flatnonzero(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0)
    order = front[np.argsort(-projective[faces[front], 2].mean(1))]
    ids = np.full(size, -1.0, np.float32)
    points = np.round((corners - 0.5) * 256).astype(np.int32)
    for f in order:
        cv2.fillConvexPoly(ids, points[f], float(f), shift=8)
    return ids


def opencv_gather(raster, uv, uv_faces, texture, out):
    """cv2.remap in groups of four channels, after interpolating uv with numpy."""
    covered = raster.triangle_id >= 0
    xy = np.full((*covered.shape, 2), -10, np.float32)
    xy[covered] = np.einsum(
        "nk,nkc->nc", raster.barycentrics[covered], uv[uv_faces[raster.triangle_id[covered]]]
    )
    C = texture.shape[2]
    x, y = xy[..., 0] * (texture.shape[1] - 1), xy[..., 1] * (texture.shape[0] - 1)
    for c in range(0, C, 4):
        out[c : c + 4] = cv2.remap(
            texture[..., c : c + 4], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        ).transpose(2, 0, 1)
    out[C : C + 2] = np.where(covered, 2 * xy.transpose(2, 0, 1) - 1, -10)
    out[C + 2] = covered
    return out


def torch_gather(features, texture):
    """grid_sample alone, for a uv map that is already there; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    C = texture.shape[2]
    t = torch.from_numpy(texture).permute(2, 0, 1)[None].contiguous()
    grid = torch.from_numpy(features[C : C + 2]).permute(1, 2, 0)[None].contiguous()
    return lambda: torch.nn.functional.grid_sample(t, grid, align_corners=True)


def numpy_compose(rgb, alpha, mask):
    a = np.minimum(1, alpha + mask)
    return (
        (np.concatenate([rgb.clip(0, 1) * a, a[None]]) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0).copy()
    )


def cases(size):
    """name -> (kernel as a function of threads, {other way: function})."""
    rng = np.random.default_rng(0)
    model, faces, uv, uv_faces = load_open_body()
    body = rng.normal(0, 0.15, model.joints.shape).astype(np.float32)
    body[0] = 0
    transl, expression = (
        np.zeros(3, np.float32),
        rng.uniform(0.1, 0.5, model.expression_count).astype(np.float32),
    )
    weights = np.zeros((len(model.vertices), len(model.joints)), np.float32)
    np.add.at(weights, (np.arange(len(weights))[:, None], model.skin_index.astype(int)), model.skin_weight)
    vertices = lbs(model, body, transl, expression)

    low, high = vertices.min(0), vertices.max(0)
    distance = 3.0
    focal = 0.85 * size / (high[1] - low[1]) * (distance - high[2])  # the body fills 85 % of the height
    centre = (low + high) / 2
    matrix = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]]) @ np.array(
        [[1, 0, 0, -centre[0]], [0, -1, 0, centre[1]], [0, 0, -1.0, distance]]
    )
    flat, _ = project(vertices, matrix)
    raster = rasterize(flat, faces, (size, size))
    texture = rng.random((256, 256, CHANNELS)).astype(np.float32)
    features = gather_uv(raster, uv, uv_faces, texture)
    rgb, alpha = rng.random((2, 3, size, size)).astype(np.float32)
    alpha = np.ascontiguousarray(alpha[0])
    mask, rgba, depth = features[-1], np.empty((size, size, 4), np.uint8), np.empty((size, size), np.float32)
    v_out, p_out, r_out = np.empty_like(vertices), np.empty_like(flat), Raster.empty(size, size)
    f_out, o_out = features.copy(), features.copy()
    pose = (body, transl, expression)
    return (
        {
            "lbs": (
                lambda t: lbs(model, *pose, out=v_out, threads=t),
                {"numpy": lambda: numpy_lbs(model, weights, *pose)},
            ),
            "project": (
                lambda t: project(vertices, matrix, out=p_out),
                {"numpy": lambda: (vertices @ matrix[:, :3].T + matrix[:, 3]).astype(np.float32)},
            ),
            "rasterize": (
                lambda t: rasterize(flat, faces, (size, size), out=r_out, threads=t),
                {"OpenCV, ids only": lambda: opencv_rasterize(flat, faces, (size, size))},
            ),
            "gather_uv": (
                lambda t: gather_uv(raster, uv, uv_faces, texture, out=f_out, threads=t),
                {
                    "OpenCV": lambda: opencv_gather(raster, uv, uv_faces, texture, o_out),
                    "torch grid_sample only": torch_gather(features, texture),
                },
            ),
            "compose": (
                lambda t: compose(rgb, alpha, mask=mask, out=rgba, threads=t),
                {"numpy": lambda: numpy_compose(rgb, alpha, mask)},
            ),
            "compose, threshold, depth": (
                lambda t: compose(
                    rgb,
                    alpha,
                    mask=mask,
                    threshold=0.5,
                    depth=raster.depth,
                    depth_out=depth,
                    out=rgba,
                    threads=t,
                ),
                {},
            ),
        },
        f"{len(faces)} triangles, {size}x{size}, {(raster.triangle_id >= 0).mean():.0%} covered, {CHANNELS} channels",
    )


def yardsticks():
    """Copy bandwidth (read + write) and float32 matrix product of this machine, the best of several."""
    source, target = np.ones(1 << 24, np.uint8), np.empty(1 << 24, np.uint8)
    a, b = np.ones((1024, 1024), np.float32), np.ones((1024, 1024), np.float32)
    c = np.empty_like(a)
    return {
        "memcpy_GBps": round(2 * source.nbytes / measure(lambda: np.copyto(target, source), 20)[0] * 1e-6, 1),
        "matmul_GFLOPS": round(2 * 1024**3 / measure(lambda: np.matmul(a, b, out=c), 20)[0] * 1e-6, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    kernels, scene = cases(options.size)
    cores = _cpu.available_threads()
    print(f"{scene}; {cores} cores, {_cpu.variant()} loops; ms: minimum / median of {options.runs}")
    print(f"{'':28}{'one thread':>17}{'all cores':>17}   target   other ways (one thread)")
    rows = {}
    for name, (kernel, others) in kernels.items():
        one, every = (measure(lambda k=kernel, t=t: k(t), options.runs) for t in (1, 0))
        ways = {way: measure(f, max(options.runs // 20, 3))[0] for way, f in others.items() if f}
        target = TARGETS.get(name) if options.size == 512 else None
        rows[name] = {"one_thread_ms": one, "all_cores_ms": every, "target_ms": target, "other_ms": ways}
        shown = "   ".join(f"{way} {ms:.2f}" for way, ms in ways.items())
        print(
            f"{name:28}{one[0]:8.3f} /{one[1]:7.3f}{every[0]:8.3f} /{every[1]:7.3f}{target or '':>9}   {shown}"
        )
    yardstick = yardsticks()
    print("yardstick: " + ", ".join(f"{k} {v}" for k, v in yardstick.items()))
    if options.json:
        report = {
            "scene": scene,
            "cores": cores,
            "variant": _cpu.variant(),
            "runs": options.runs,
            "kernels": rows,
            "yardstick": yardstick,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
