"""Animations of a glTF file at even times: the node tree, and its channels interpolated.

Source: Khronos glTF 2.0 specification, 3.11 (animations) and appendix C (interpolation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.formats.gltf import Gltf, GltfError, floats

from .motion import MAX_FRAMES
from .node_clip import Transforms

DEFAULT_FPS = 30.0
_RATES = (10.0, 240.0)  # between which the spacing of keys is taken for a frame rate
_PATHS = {"translation": ("VEC3", 3), "rotation": ("VEC4", 4), "scale": ("VEC3", 3), "weights": ("SCALAR", 0)}
_STEPS = ("LINEAR", "STEP", "CUBICSPLINE")
_MAX_DEPTH = 512


@dataclass(frozen=True, eq=False)
class Tree:
    """names, parents [J]: nodes in an order in which parents come first; nodes: their numbers in the file."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    nodes: tuple[int, ...]
    rest: Transforms


@dataclass(frozen=True, eq=False)
class Track:
    """times [K] seconds, ascending; values [K,C], or [K,3,C] (tangent in, value, tangent out) for a spline."""

    times: np.ndarray
    values: np.ndarray
    step: str

    def at(self, t: np.ndarray, turning: bool) -> np.ndarray:
        """Values [N,C] at t [N]; the first and last key hold beyond the ends. turning: quaternions x, y, z, w."""
        times, last = self.times, len(self.times) - 1
        i = np.clip(np.searchsorted(times, t, side="right") - 1, 0, last)
        j = np.minimum(i + 1, last)
        gap = np.where(j > i, times[j] - times[i], 1.0)
        w = np.clip((t - times[i]) / gap, 0.0, 1.0)
        if self.step == "CUBICSPLINE":
            out = self._spline(i, j, w[:, None], gap[:, None])
        elif self.step == "STEP":
            out = self.values[i]
        elif turning:
            out = rot.slerp(_unit(self.values[i]), _unit(self.values[j]), w)
        else:
            out = (1 - w[:, None]) * self.values[i] + w[:, None] * self.values[j]
        return _unit(out) if turning else out

    def _spline(self, i, j, w, gap) -> np.ndarray:
        """Cubic Hermite, its tangents per second."""
        a, b = self.values[i, 1], self.values[j, 1]
        leaving, arriving = self.values[i, 2] * gap, self.values[j, 0] * gap
        w2, w3 = w * w, w * w * w
        out = (
            (2 * w3 - 3 * w2 + 1) * a
            + (w3 - 2 * w2 + w) * leaving
            + (3 * w2 - 2 * w3) * b
            + (w3 - w2) * arriving
        )
        return np.where(i[:, None] == j[:, None], a, out)


def _unit(q: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(length > 1e-9, q / np.where(length > 1e-9, length, 1.0), (0.0, 0.0, 0.0, 1.0))


def read_tree(gltf: Gltf) -> Tree:
    """All nodes. Raises GltfError for trees that are none."""
    nodes = gltf.items("nodes")
    if not nodes:
        raise GltfError("there are no nodes in it")
    parent = [-1] * len(nodes)
    for i, node in enumerate(nodes):
        children = node.get("children", [])
        if not isinstance(children, list):
            raise GltfError(f"nodes[{i}].children: expected an array")
        for c in children:
            gltf.item("nodes", c, f"nodes[{i}].children")
            if parent[c] >= 0 or c == i:
                raise GltfError(f"nodes[{c}]: is a child of two nodes, or of itself")
            parent[c] = i
    order, waiting = [], [(i, 0) for i in range(len(nodes)) if parent[i] < 0][::-1]
    while waiting:
        i, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise GltfError(f"nodes[{i}]: deeper than {_MAX_DEPTH} levels")
        order.append(i)
        waiting += [(c, depth + 1) for c in nodes[i].get("children", [])[::-1]]
    if len(order) != len(nodes):
        raise GltfError("nodes: some go round in a circle")
    place = {n: k for k, n in enumerate(order)}
    local = [_transform(nodes[i], i) for i in order]
    names = tuple(n if isinstance(n := nodes[i].get("name"), str) and n else f"node{i}" for i in order)
    parents = tuple(place[parent[i]] if parent[i] >= 0 else -1 for i in order)
    columns = (np.array([t[k] for t in local]).reshape(len(local), -1) for k in range(3))
    return Tree(names, parents, tuple(order), Transforms(*columns))


def _transform(node: dict, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place [3], rotation [4] (w first) and scale [3] of a node."""
    where = f"nodes[{index}]"
    if "matrix" in node:
        return parted(floats(node["matrix"], 16, f"{where}.matrix").reshape(4, 4).T)
    q = floats(node.get("rotation", [0, 0, 0, 1]), 4, f"{where}.rotation")
    return (
        floats(node.get("translation", [0, 0, 0]), 3, f"{where}.translation"),
        _unit(q)[[3, 0, 1, 2]],
        floats(node.get("scale", [1, 1, 1]), 3, f"{where}.scale"),
    )


def parted(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, rotation (w first) and scale of a matrix [4,4]; a shear is left out. Raises GltfError."""
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    if scale.min() < 1e-12 or not np.isfinite(matrix).all():
        raise GltfError("a matrix without an inverse")
    turn = matrix[:3, :3] / scale
    if np.linalg.det(turn) < 0:
        turn[:, 0] *= -1
        scale = scale * (-1.0, 1.0, 1.0)
    u, _, v = np.linalg.svd(turn)
    return matrix[:3, 3].copy(), rot.matrix_to_quaternion(u @ v), scale


def choose(gltf: Gltf, take: str | int | None) -> tuple[dict, str]:
    """The animation by number or name (the first by default), and a note if there are others."""
    animations = gltf.items("animations")
    names = [str(a.get("name", f"number {i}"))[:60] for i, a in enumerate(animations)]
    if not animations:
        raise GltfError("there is no animation in it")
    index = 0
    if take is not None:
        wanted = str(take)
        index = names.index(wanted) if wanted in names else int(wanted) if wanted.isdecimal() else -1
        if not 0 <= index < len(animations):
            raise GltfError(
                f"take: got {wanted!r}, expected 0 to {len(names) - 1}, or one of {', '.join(names[:20])}"
            )
    others = f"animation {names[index]!r} of {len(names)}: {', '.join(names[:12])}" if len(names) > 1 else ""
    return animations[index], others


def read_tracks(gltf: Gltf, animation: dict) -> dict[tuple[int, str], Track]:
    """(node, path) -> its track. Raises GltfError."""
    channels, samplers = animation.get("channels"), animation.get("samplers")
    if not isinstance(channels, list) or not isinstance(samplers, list) or len(channels) > 100_000:
        raise GltfError("animation: expected arrays of channels and samplers")
    tracks: dict[tuple[int, str], Track] = {}
    seen_times: dict[int, np.ndarray] = {}
    for n, channel in enumerate(channels):
        where = f"animation channel {n}"
        target = channel.get("target") if isinstance(channel, dict) else None
        if not isinstance(target, dict):
            raise GltfError(f"{where}: expected an object with a target")
        path = target.get("path")
        if "node" not in target or path not in _PATHS:
            continue  # an extension's target
        gltf.item("nodes", target["node"], f"{where}.target.node")
        s = channel.get("sampler")
        if type(s) is not int or not 0 <= s < len(samplers) or not isinstance(samplers[s], dict):
            raise GltfError(
                f"{where}.sampler: got {str(s)[:20]}, expected an index of {len(samplers)} samplers"
            )
        tracks[target["node"], path] = _track(gltf, samplers[s], path, where, seen_times)
    return tracks


def _track(gltf: Gltf, sampler: dict, path: str, where: str, seen: dict[int, np.ndarray]) -> Track:
    step = sampler.get("interpolation", "LINEAR")
    if step not in _STEPS:
        raise GltfError(f"{where}: interpolation: got {str(step)[:20]!r}, expected {', '.join(_STEPS)}")
    source = sampler.get("input")
    if not isinstance(source, int):
        raise GltfError(f"{where}: its sampler has no input")
    if source not in seen:
        times = gltf.accessor(source, "SCALAR", f"{where} times")[:, 0]
        if (np.diff(times) < 0).any() or times[0] < 0:
            raise GltfError(f"{where}: its times do not ascend from 0")
        seen[source] = times
    times = seen[source]
    kind, width = _PATHS[path]
    values = gltf.accessor(sampler.get("output"), kind, f"{where} values")
    rows = len(times) * (3 if step == "CUBICSPLINE" else 1)
    if path == "weights":
        if len(values) % rows:
            raise GltfError(f"{where}: {len(values)} weights for {rows} keys")
        width = len(values) // rows
        values = values.reshape(rows, width)
    if len(values) != rows:
        raise GltfError(f"{where}: {len(values)} values for {rows} keys")
    return Track(times, values.reshape(len(times), 3, width) if step == "CUBICSPLINE" else values, step)


def even_times(tracks: dict[tuple[int, str], Track], fps: float | None) -> tuple[np.ndarray, float]:
    """Times [N] from the first key to the last, and frames per second: `fps`, or the rate of the keys where they
    are as dense as frames, else 30. Raises GltfError."""
    begin = min(t.times[0] for t in tracks.values())
    end = max(t.times[-1] for t in tracks.values())
    if fps is None:
        densest = max(tracks.values(), key=lambda t: len(t.times)).times
        gaps = np.diff(densest)
        gap = float(np.median(gaps[gaps > 1e-6])) if (gaps > 1e-6).any() else 0.0
        rate = 1 / gap if gap else 0.0
        fps = DEFAULT_FPS if not _RATES[0] * 0.99 <= rate <= _RATES[1] * 1.01 else rate
        fps = float(round(fps)) if abs(fps - round(fps)) < 0.01 * fps / 10 else fps
    if not 0.1 <= fps <= 10_000 or (end - begin) * fps + 1 > MAX_FRAMES:
        raise GltfError(
            f"{end - begin:.0f} s at {fps:g} frames per second, expected at most {MAX_FRAMES} frames"
        )
    return begin + np.arange(int((end - begin) * fps + 1e-3) + 1) / fps, fps


def moving(tree: Tree, tracks: dict[tuple[int, str], Track], times: np.ndarray) -> Transforms:
    """The tree's transforms [N,J,...] at `times` [N]."""
    n = len(times)
    place, rotation, scale = (
        np.repeat(v[None], n, axis=0) for v in (tree.rest.place, tree.rest.rotation, tree.rest.scale)
    )
    for j, node in enumerate(tree.nodes):
        if (node, "translation") in tracks:
            place[:, j] = tracks[node, "translation"].at(times, False)
        if (node, "rotation") in tracks:
            rotation[:, j] = tracks[node, "rotation"].at(times, True)[:, [3, 0, 1, 2]]
        if (node, "scale") in tracks:
            scale[:, j] = tracks[node, "scale"].at(times, False)
    return Transforms(place, rotation, scale)
