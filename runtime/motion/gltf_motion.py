"""Motion out of glTF: VRM animations (.vrma), Mixamo's and other humanoids' .glb and .gltf.

Sources: Khronos glTF 2.0; VRMC_vrm_animation and VRMC_vrm 1.0 (vrm-c/vrm-specification): bones by name, the rest
pose is a T-pose, the x of a node's translation is the weight of an expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.formats.gltf import Gltf, GltfError

from . import gltf_tracks as gt
from .face_names import PRESETS, arkit_name
from .families import path_to
from .motion import Motion
from .node_clip import MAX_NODES, MAX_VALUES, NodeClip, Transforms, as_motion, worlds

SUFFIXES = (".glb", ".gltf", ".vrma", ".vrm")
_ANIMATION = "VRMC_vrm_animation"
_REQUIRED = tuple(
    f"{side}{part}{bone}"
    for side in ("left", "right")
    for part, bone in (
        ("Upper", "Leg"),
        ("Lower", "Leg"),
        ("", "Foot"),
        ("Upper", "Arm"),
        ("Lower", "Arm"),
        ("", "Hand"),
    )
)
_MIXAMO = re.compile(r"mixamorig\d*[:_]?", re.IGNORECASE)
_UPS = ("auto", "y", "z", "-y")
_BONES_OF_A_SKIN = 15
_MAX_EXPRESSIONS = 512


def load_gltf(path, *, fps: float | None = None, up: str = "auto", take: str | int | None = None) -> Motion:
    """Read an animation of a humanoid from .glb, .gltf, .vrma or .vrm.

    Bones are found by the file's VRM humanoid where it has one, else by names (families of `families`).
    fps: frames per second to read it at; by default the rate of its keys. up: upward axis of a file that is not
    y up as glTF prescribes: "y", "z", "-y", or "auto", as for BVH; a VRM is always y up. take: which animation,
    by name or number; the first by default. Raises MotionError naming the file.
    """
    path = Path(path)
    if up not in _UPS:
        raise MotionError(f"{path}: up: got {up!r}, expected {', '.join(_UPS)}")
    if fps is not None and not 0.1 <= fps <= 10_000:
        raise MotionError(f"{path}: fps: got {fps:g}, expected 0.1 to 10000")
    try:
        return _read(Gltf(path), path, fps, up, take)
    except GltfError as e:
        raise MotionError(f"{path}: {e}") from None
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None


def _read(gltf: Gltf, path: Path, fps: float | None, up: str, take: str | int | None) -> Motion:
    bones = _humanoid(gltf)
    if bones and up not in ("auto", "y"):
        raise GltfError(f"up: got {up!r}, a VRM is y up")
    animation, note = gt.choose(gltf, take)
    tracks = gt.read_tracks(gltf, animation)
    tree = gt.read_tree(gltf)
    if not any(path == "rotation" for _, path in tracks):
        raise GltfError("its animation turns no node, so there is no body motion in it")
    times, rate = gt.even_times(tracks, fps)
    binds = {} if bones else _bind_matrices(gltf)
    tree = _kept(
        tree, {n for n, p in tracks if p != "weights"} | set(bones.values()) | set(binds), set(bones.values())
    )
    if len(tree.nodes) > MAX_NODES or len(times) * len(tree.nodes) > MAX_VALUES:
        raise GltfError(
            f"{len(times)} frames of {len(tree.nodes)} nodes, expected at most {MAX_NODES} nodes and "
            f"{MAX_VALUES} of both multiplied"
        )
    old = any("ThumbIntermediate" in bone for bone in bones)
    called = {node: bone if old else _bone_name(bone) for bone, node in bones.items()}
    names = tuple(
        _MIXAMO.sub("", n, count=1) if not bones else called.get(i, f"node {i}")
        for i, n in zip(tree.nodes, tree.names, strict=True)
    )
    moving = gt.moving(tree, tracks, times)
    clip = NodeClip(names, tree.parents, tree.rest, moving, rate, _bind_pose(tree, binds))
    # In a VRM the rest pose is a T-pose by definition: no need to look at hinges.
    motion = as_motion(clip, path.stem, str(path), roll="rest" if bones else "auto", up="y" if bones else up)
    columns, notes = _face(gltf, tracks, times)
    notes = [note, *notes] if note else notes
    if (
        fps is None
        and rate == gt.DEFAULT_FPS
        and max(len(t.times) for t in tracks.values()) < len(times) * 0.9
    ):
        notes.append(f"sparse keys: read at {rate:g} frames per second, give another with --source-fps")
    return replace(
        motion,
        expression=np.stack(list(columns.values()), axis=1) if columns else np.zeros((motion.frames, 0)),
        expression_names=tuple(columns),
        notes=(*motion.notes, *notes),
    )


def _humanoid(gltf: Gltf) -> dict[str, int]:
    """VRM bone -> node; empty if the file has no VRM humanoid."""
    extensions = gltf.json.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    for name in (_ANIMATION, "VRMC_vrm", "VRM"):
        if not isinstance(extensions.get(name), dict):
            continue
        humanoid = extensions[name].get("humanoid")
        bones = humanoid.get("humanBones") if isinstance(humanoid, dict) else None
        if isinstance(bones, list):  # VRM 0
            bones = {str(b.get("bone")): b for b in bones if isinstance(b, dict)}
        if not isinstance(bones, dict) or not 0 < len(bones) <= 128:
            raise GltfError(f"{name}.humanoid.humanBones: expected an object of bones")
        found = {}
        for bone, spec in bones.items():
            node = spec.get("node") if isinstance(spec, dict) else None
            gltf.item("nodes", node, f"{name}.humanoid.humanBones.{bone[:40]}.node")
            found[bone] = node
        if len(set(found.values())) != len(found):
            raise GltfError(f"{name}.humanoid.humanBones: two bones are the same node")
        missing = [b for b in ("hips", *_REQUIRED) if b not in found]
        if missing:
            raise GltfError(
                f"{name}.humanoid.humanBones: {', '.join(missing)} missing, which a VRM must have"
            )
        return found
    return {}


def _bone_name(bone: str) -> str:
    """A VRM 1 bone's name as VRM 0 and Unity have it: the thumb's three joints are called differently."""
    if "ThumbProximal" in bone:
        return bone.replace("ThumbProximal", "ThumbIntermediate")
    return bone.replace("ThumbMetacarpal", "ThumbProximal")


def _kept(tree: gt.Tree, wanted: set[int], bones: set[int]) -> gt.Tree:
    """The part of the tree that leads to `wanted` nodes; of several figures the one with most of them."""
    index = {n: j for j, n in enumerate(tree.nodes)}
    keep: set[int] = set()
    roots: dict[int, int] = {}
    for node in wanted:
        way = path_to(index[node], tree.parents)
        keep |= set(way)
        roots[way[0]] = roots.get(way[0], 0) + (1000 if node in bones else 1)
    best = max(roots, key=lambda k: roots[k])
    rows = [j for j in sorted(keep) if path_to(j, tree.parents)[0] == best]
    new = {j: k for k, j in enumerate(rows)}
    rest = Transforms(*(v[rows] for v in (tree.rest.place, tree.rest.rotation, tree.rest.scale)))
    return gt.Tree(
        tuple(tree.names[j] for j in rows),
        tuple(new.get(tree.parents[j], -1) for j in rows),
        tuple(tree.nodes[j] for j in rows),
        rest,
    )


def _bind_matrices(gltf: Gltf) -> dict[int, np.ndarray]:
    """Node -> world matrix [4,4] in the bind pose of the largest skin; empty if no skin says."""
    skins = [
        s for s in gltf.items("skins") if isinstance(s.get("joints"), list) and "inverseBindMatrices" in s
    ]
    if not skins:
        return {}
    skin = max(skins, key=lambda s: len(s["joints"]))
    inverse = gltf.accessor(skin["inverseBindMatrices"], "MAT4", "skin").reshape(-1, 4, 4).transpose(0, 2, 1)
    if len(inverse) < len(skin["joints"]):
        raise GltfError(f"skin: {len(inverse)} inverse bind matrices for {len(skin['joints'])} joints")
    out = {}
    for node, matrix in zip(skin["joints"], inverse, strict=False):
        gltf.item("nodes", node, "skin.joints")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-18:
            return {}
        out[node] = np.linalg.inv(matrix)
    return out


def _bind_pose(tree: gt.Tree, binds: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """The skin's bind pose, rotations [J,4] and places [J,3], in the world of the nodes."""
    known = [j for j, n in enumerate(tree.nodes) if n in binds]
    if len(known) < _BONES_OF_A_SKIN:
        return None
    rest = Transforms(*(v[None] for v in (tree.rest.place, tree.rest.rotation, tree.rest.scale)))
    rotations, places = (v[0] for v in worlds(tree.parents, rest))
    first = known[0]
    # Matrices are in the mesh's space, which may be turned and scaled against the nodes': by quarter turns.
    place, turn, scale = gt.parted(binds[tree.nodes[first]])
    to_world = _quarter_turn(_matrix(rotations[first]) @ _matrix(turn).T)
    size = _size(tree, places, binds, known)
    origin = places[first] - size * to_world @ place
    for j in range(len(tree.nodes)):
        node, p = tree.nodes[j], tree.parents[j]
        if node in binds:
            place, turn, _ = gt.parted(binds[node])
            places[j] = origin + size * to_world @ place
            rotations[j] = gt.rot.matrix_to_quaternion(to_world @ _matrix(turn))
        elif p >= 0 and tree.nodes[p] in binds:  # below a bone that has one
            rotations[j] = gt.rot.multiply(rotations[p], tree.rest.rotation[j])
            places[j] = places[p] + gt.rot.rotate(rotations[p], tree.rest.place[j])
    return rotations, places


def _matrix(q: np.ndarray) -> np.ndarray:
    return gt.rot.quaternion_to_matrix(q)


def _size(tree: gt.Tree, places: np.ndarray, binds: dict[int, np.ndarray], known: Iterable[int]) -> float:
    """The nodes' unit in the mesh's: by the lengths of the bones, which no pose changes."""
    ratios = []
    for j in known:
        p = tree.parents[j]
        if p >= 0 and tree.nodes[p] in binds:
            there = float(np.linalg.norm(binds[tree.nodes[j]][:3, 3] - binds[tree.nodes[p]][:3, 3]))
            if there > 1e-9:
                ratios.append(float(np.linalg.norm(places[j] - places[p])) / there)
    return float(np.median(ratios)) if ratios else 1.0


def _quarter_turn(matrix: np.ndarray) -> np.ndarray:
    """The rotation by quarter turns [3,3] that is nearest to a rotation."""
    out = np.zeros((3, 3))
    left = np.abs(matrix).copy()
    for _ in range(3):
        i, j = np.unravel_index(int(np.argmax(left)), (3, 3))
        out[i, j] = np.sign(matrix[i, j])
        left[i, :] = -1
        left[:, j] = -1
    if np.linalg.det(out) < 0:
        return np.eye(3)
    return out


def _face(
    gltf: Gltf, tracks: dict[tuple[int, str], gt.Track], times: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Expression -> its weights [N], 0 to 1, from VRM expressions and from named morph targets; and notes."""
    columns: dict[str, np.ndarray] = {}
    notes: list[str] = []
    extensions = gltf.json.get("extensions")
    animation = extensions.get(_ANIMATION) if isinstance(extensions, dict) else None
    if isinstance(animation, dict):
        expressions = animation.get("expressions")
        for kind, presets in (("preset", PRESETS), ("custom", {})):
            group = expressions.get(kind) if isinstance(expressions, dict) else None
            for name, spec in (group if isinstance(group, dict) else {}).items():
                node = spec.get("node") if isinstance(spec, dict) else None
                gltf.item("nodes", node, f"{_ANIMATION}.expressions.{kind}.{name[:40]}.node")
                track = None if node is None else tracks.get((node, "translation"))
                if track is not None:
                    _add(columns, name, track.at(times, False)[:, 0], presets)
        if "lookAt" in animation:
            notes.append("VRM's lookAt is left out: drafts of the format disagree on what it means")
    for (node, path), track in tracks.items():
        if path == "weights":
            for name, weights in zip(_targets(gltf, node), track.at(times, False).T, strict=False):
                _add(columns, name, weights, {})
    return columns, notes


def _targets(gltf: Gltf, node: int) -> list[str]:
    """The names of a node's morph targets, where its mesh says them."""
    spec = gltf.items("nodes")[node]
    mesh = gltf.item("meshes", spec.get("mesh"), f"nodes[{node}].mesh") if "mesh" in spec else {}
    extras = mesh.get("extras")
    names = extras.get("targetNames") if isinstance(extras, dict) else None
    return [str(n) for n in names[:_MAX_EXPRESSIONS]] if isinstance(names, list) else []


def _add(
    columns: dict[str, np.ndarray], name: str, weights: np.ndarray, presets: dict[str, dict[str, float]]
) -> None:
    """Several meshes of a head have the same targets: the largest weight counts."""
    weights = np.clip(weights, 0.0, 1.0)
    for target, scale in presets.get(name, {arkit_name(name): 1.0}).items():
        if target in columns:
            columns[target] = np.maximum(columns[target], scale * weights)
        elif len(columns) < _MAX_EXPRESSIONS:
            columns[target] = scale * weights
