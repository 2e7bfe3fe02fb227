"""Motions made for the tests, and a small BVH writer."""

import dataclasses
import json
import struct
import types

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_NAMES, PARENTS
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.motion import reference_body as ref
from dinar_live.runtime.motion.bvh import Bvh


def other_side(name):
    """The name of the joint on the other side of the body."""
    return name.replace("left", "*").replace("right", "left").replace("*", "right")


MIRROR = [JOINT_NAMES.index(other_side(n)) for n in JOINT_NAMES]


@pytest.fixture(scope="session")
def demo():
    return demo_motion(30)


@pytest.fixture(scope="session")
def rest():
    return ref.rest_joints()


@pytest.fixture(scope="session")
def tools():
    """The functions below, for test modules (which cannot import each other)."""
    return types.SimpleNamespace(
        mirror=MIRROR,
        other_side=other_side,
        skeleton_bvh=skeleton_bvh,
        mirrored=mirrored,
        mirrored_body=mirrored_body,
        angle_between=angle_between,
        bvh_text=bvh_text,
        gltf=GltfWriter,
        vrm_bones=VRM_BONES,
    )


def skeleton_bvh(body, pelvis, rest, names=JOINT_NAMES, unit=100.0, fps=30.0) -> Bvh:
    """SMPL-X poses [N,55,3] and pelvis path [N,3] as a BVH of the same skeleton, `unit` file units to the
    metre."""
    offsets = np.array([rest[j] - (rest[p] if p >= 0 else 0) for j, p in enumerate(PARENTS)]) * unit
    positions = np.broadcast_to(offsets, (len(body), 55, 3)).copy()
    positions[:, 0] = np.asarray(pelvis) * unit
    ends = {j: np.array((0, 0, 0.02 * unit)) for j in range(55) if j not in PARENTS}
    ends[15] = np.array((0, 0.15 * unit, 0))
    return Bvh(
        tuple(names), tuple(PARENTS), offsets, ends, rot.axis_angle_to_quaternion(body), positions, fps
    )


def mirrored(bvh: Bvh, names_of_other_side) -> Bvh:
    """The figure in a mirror that swaps x and -x."""
    swap = [bvh.names.index(names_of_other_side(n)) for n in bvh.names]
    flip = np.array((-1.0, 1.0, 1.0))
    return dataclasses.replace(
        bvh,
        parents=tuple(swap[bvh.parents[j]] if bvh.parents[j] >= 0 else -1 for j in swap),
        names=tuple(bvh.names),
        offsets=bvh.offsets[swap] * flip,
        positions=bvh.positions[:, swap] * flip,
        rotations=bvh.rotations[:, swap] * (1.0, 1.0, -1.0, -1.0),
        ends={swap[j]: e * flip for j, e in bvh.ends.items()},
    )


def mirrored_body(body):
    """SMPL-X poses [N,55,3] in the same mirror."""
    return body[:, MIRROR] * (1.0, -1.0, -1.0)


def angle_between(a, b):
    """Degrees between rotations given as axis-angle [...,3]."""
    d = rot.multiply(rot.conjugate(rot.axis_angle_to_quaternion(a)), rot.axis_angle_to_quaternion(b))
    return np.degrees(np.linalg.norm(rot.quaternion_to_axis_angle(d), axis=-1))


def bvh_text(bvh: Bvh, order="zxy", seconds="0.0333333") -> str:
    """A file with position channels on the root and rotations in `order`; needs scipy for the angles."""
    from scipy.spatial.transform import Rotation

    channels = " ".join(f"{a.upper()}rotation" for a in order)
    lines = ["HIERARCHY"]

    def write(j, depth):
        pad = "  " * depth
        lines.append(f"{pad}{'ROOT' if j == 0 else 'JOINT'} {bvh.names[j]}")
        lines.append(pad + "{")
        lines.append(f"{pad}  OFFSET " + " ".join(f"{x:.6f}" for x in bvh.offsets[j]))
        lines.append(
            f"{pad}  CHANNELS " + ("6 Xposition Yposition Zposition " if j == 0 else "3 ") + channels
        )
        written.append(j)
        for c in bvh.children(j):
            write(c, depth + 1)
        if j in bvh.ends:
            lines.extend(
                [
                    f"{pad}  End Site",
                    pad + "  {",
                    f"{pad}    OFFSET " + " ".join(f"{x:.6f}" for x in bvh.ends[j]),
                    pad + "  }",
                ]
            )
        lines.append(pad + "}")

    written = []
    write(0, 0)
    lines += ["MOTION", f"Frames: {bvh.frames}", f"Frame Time: {seconds}"]
    turns = Rotation.from_quat(bvh.rotations[:, written].reshape(-1, 4)[:, [1, 2, 3, 0]]).as_euler(
        order.upper(), degrees=True
    )
    turns = turns.reshape(bvh.frames, -1)
    for position, row in zip(bvh.positions[:, 0], turns, strict=True):
        lines.append(" ".join(f"{x:.6f}" for x in (*position, *row)))
    return "\n".join(lines) + "\n"


def _vrm_bones():
    """SMPL-X joint -> VRM 1 bone."""
    out = {"pelvis": "hips", "spine1": "spine", "spine2": "chest", "spine3": "upperChest", "neck": "neck"}
    out |= {"head": "head", "jaw": "jaw"}
    for side in ("left", "right"):
        pairs = {"hip": "UpperLeg", "knee": "LowerLeg", "ankle": "Foot", "foot": "Toes", "collar": "Shoulder"}
        pairs |= {"shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand"}
        for finger in ("index", "middle", "ring", "pinky"):
            for i, part in enumerate(("Proximal", "Intermediate", "Distal"), 1):
                pairs[f"{finger}{i}"] = ("Little" if finger == "pinky" else finger.title()) + part
        pairs |= {"thumb1": "ThumbMetacarpal", "thumb2": "ThumbProximal", "thumb3": "ThumbDistal"}
        out |= {f"{side}_{k}": f"{side}{v}" for k, v in pairs.items()}
    return out


VRM_BONES = _vrm_bones()


class GltfWriter:
    """Writes glTF as exporters do: accessors in one binary buffer. `json` may be changed before `glb`."""

    def __init__(self):
        self.blob = b""
        self.json = {"asset": {"version": "2.0"}, "nodes": [], "scenes": [{"nodes": [0]}], "scene": 0}
        self.json |= {"accessors": [], "bufferViews": [], "animations": [{"channels": [], "samplers": []}]}

    def accessor(self, values, kind, dtype="<f4", normalized=False):
        values = np.asarray(values, np.float64)
        if normalized:
            values = np.round(values * np.iinfo(np.dtype(dtype)).max)
        data = np.ascontiguousarray(values, np.dtype(dtype))
        self.blob += b"\0" * (-len(self.blob) % 4)
        self.json["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.blob), "byteLength": data.nbytes}
        )
        self.blob += data.tobytes()
        component = {"f4": 5126, "i2": 5122, "u1": 5121, "u2": 5123, "i1": 5120}[np.dtype(dtype).str[1:]]
        view = len(self.json["bufferViews"]) - 1
        count = len(data) if kind != "SCALAR" else data.size
        accessor = {"bufferView": view, "componentType": component, "count": count, "type": kind}
        self.json["accessors"].append(accessor | ({"normalized": True} if normalized else {}))
        return len(self.json["accessors"]) - 1

    def node(self, name, parent=None, **more):
        self.json["nodes"].append({"name": name, **more})
        new = len(self.json["nodes"]) - 1
        if parent is not None:
            self.json["nodes"][parent].setdefault("children", []).append(new)
        return new

    def channel(self, node, path, times, output, interpolation="LINEAR", animation=0):
        """times: an accessor, or seconds."""
        animation = self.json["animations"][animation]
        source = times if isinstance(times, int) else self.accessor(times, "SCALAR")
        animation["samplers"].append({"input": source, "output": output, "interpolation": interpolation})
        animation["channels"].append(
            {"sampler": len(animation["samplers"]) - 1, "target": {"node": node, "path": path}}
        )

    def figure(self, body, pelvis, rest, names, fps=30.0, scale=1.0, turns=None, joints=range(55)):
        """Poses [N,55,3] on nodes with these names {SMPL-X joint: name}; a joint without a name is left out.

        turns: {SMPL-X joint number: quaternion} that turns the node at rest. Returns joint -> node.
        """
        times = self.accessor(np.arange(len(body)) / fps, "SCALAR")
        local = rot.axis_angle_to_quaternion(np.asarray(body, np.float64))
        turns = turns or {}
        nodes, identity = {}, np.array((1.0, 0, 0, 0))
        for j, name in enumerate(JOINT_NAMES):
            if name not in names or j not in joints:
                continue
            p, after = PARENTS[j], local[:, j]
            while p >= 0 and p not in nodes:
                after = rot.multiply(local[:, p], after)
                p = PARENTS[p]
            up, own = turns.get(p, identity), turns.get(j, identity)
            offset = rot.rotate(rot.conjugate(up), (rest[j] - rest[p]) if p >= 0 else rest[j]) * scale
            turned = rot.multiply(rot.conjugate(up), own)
            q = rot.multiply(rot.multiply(rot.conjugate(up), after), own)
            nodes[j] = self.node(
                names[name],
                nodes.get(p, 0 if self.json["nodes"] else None),
                translation=offset.tolist(),
                rotation=turned[[1, 2, 3, 0]].tolist(),
            )
            self.channel(nodes[j], "rotation", times, self.accessor(q[:, [1, 2, 3, 0]], "VEC4"))
            if j == 0:
                self.channel(
                    nodes[j], "translation", times, self.accessor(np.asarray(pelvis) * scale, "VEC3")
                )
        return nodes

    def humanoid(self, nodes, bones=VRM_BONES, extension="VRMC_vrm_animation"):
        human = {bones[JOINT_NAMES[j]]: {"node": n} for j, n in nodes.items() if JOINT_NAMES[j] in bones}
        found = {"specVersion": "1.0", "humanoid": {"humanBones": human}}
        self.json.setdefault("extensions", {})[extension] = found
        self.json.setdefault("extensionsUsed", []).append(extension)
        return found

    def glb(self, path):
        blob = self.blob + b"\0" * (-len(self.blob) % 4)
        self.json["buffers"] = [{"byteLength": len(self.blob)}]
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(blob)
        path.write_bytes(
            struct.pack("<4sII", b"glTF", 2, size)
            + struct.pack("<II", len(text), 0x4E4F534A)
            + text
            + struct.pack("<II", len(blob), 0x004E4942)
            + blob
        )
        return path
