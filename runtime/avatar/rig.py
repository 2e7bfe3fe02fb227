"""Rig: one person's body with the shape folded in, ready to be skinned and textured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dinar_live import kernels
from dinar_live.runtime.core.errors import BundleError, InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.skeleton import PARENTS

# name: (dtype, shape with symbols); a symbol must have one value over the whole rig
ARRAYS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "vertices": ("float32", ("V", 3)),
    "joints": ("float32", (55, 3)),
    "skin_index": ("uint16", ("V", "k")),
    "skin_weight": ("float32", ("V", "k")),
    "expression_vertex": ("int32", ("n",)),
    "expression_dirs": ("float32", ("n", 3, "E")),
    "expression_joint_dirs": ("float32", (55, 3, "E")),
    "faces": ("int32", ("F", 3)),
    "uv": ("float32", ("T", 2)),
    "uv_faces": ("int32", ("F", 3)),
    "hands_mean_l": ("float32", (45,)),
    "hands_mean_r": ("float32", (45,)),
}
OPTIONAL = {"pose_dirs": ("float32", (486, "V", 3))}
# Caps on what a file may ask for; SMPL-X has 10,475 vertices and 20,908 faces.
CAPS = {"V": 200_000, "T": 400_000, "F": 400_000, "n": 200_000, "E": 512, "k": 55}


@dataclass(frozen=True, eq=False)
class Rig:
    """A body of one shape. `model` (kernels.BodyModel) is what `lbs` takes; faces i32[F,3] counter-clockwise
    from outside; uv f32[T,2] in [0,1], v down; uv_faces i32[F,3]; hands_mean_l/_r f32[45] a relaxed hand;
    expression_names one per column (may be empty)."""

    model: kernels.BodyModel
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    hands_mean_l: np.ndarray
    hands_mean_r: np.ndarray
    expression_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Rig({len(self.model.vertices)} vertices, {len(self.faces)} faces, {len(self.joints)} joints, "
            f"{self.expressions} expressions)"
        )

    @property
    def joints(self) -> np.ndarray:
        """Rest joints f32[55,3], metres."""
        return self.model.joints

    @property
    def expressions(self) -> int:
        """Number of expression coefficients."""
        return self.model.expression_joint_dirs.shape[2]

    def check_pose(self, pose: Pose) -> None:
        """Raises InputError for a pose that has more expression coefficients than this body."""
        if len(pose.expression) > self.expressions:
            raise InputError(
                f"Pose.expression: got {len(pose.expression)} values, this avatar has {self.expressions}"
            )

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name, as stored in rig.safetensors."""
        out = {}
        for name in (*ARRAYS, *OPTIONAL):
            value = getattr(self if name in self.__dataclass_fields__ else self.model, name)
            if value is not None:
                out[name] = np.ascontiguousarray(value)
        return out

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], expression_names: tuple[str, ...] = ()) -> Rig:
        """Check `arrays` (rig.safetensors) and build the rig. Raises BundleError naming the array."""
        symbols: dict[str, int] = {}
        for name, (dtype, shape) in (ARRAYS | OPTIONAL).items():
            if name not in arrays:
                if name in OPTIONAL:
                    continue
                raise BundleError(f"rig: array {name!r} is missing, got {sorted(arrays)}")
            check_array(f"rig: {name}", arrays[name], dtype, shape, symbols, CAPS)
        if unknown := set(arrays) - set(ARRAYS) - set(OPTIONAL):
            raise BundleError(
                f"rig: got unknown arrays {sorted(unknown)}, expected only {sorted(ARRAYS | OPTIONAL)}"
            )
        a, V, T = arrays, symbols["V"], symbols["T"]
        for name, limit in (("faces", V), ("uv_faces", T), ("expression_vertex", V), ("skin_index", 55)):
            if a[name].size and not (0 <= int(a[name].min()) and int(a[name].max()) < limit):
                raise BundleError(
                    f"rig: {name} holds indices {int(a[name].min())}..{int(a[name].max())}, expected 0..{limit - 1}"
                )
        if np.abs(a["skin_weight"].sum(1) - 1).max(initial=0) > 1e-3 or a["skin_weight"].min(initial=0) < 0:
            raise BundleError("rig: skin_weight has negative weights or rows that do not sum to 1")
        if len(expression_names) not in (0, symbols["E"]):
            raise BundleError(f"expression names: got {len(expression_names)}, expected {symbols['E']}")
        try:
            model = kernels.BodyModel(
                vertices=a["vertices"],
                joints=a["joints"],
                parents=np.array(PARENTS, np.int32),
                skin_index=a["skin_index"],
                skin_weight=a["skin_weight"],
                expression_vertex=a["expression_vertex"],
                expression_dirs=a["expression_dirs"],
                expression_joint_dirs=a["expression_joint_dirs"],
                pose_dirs=a.get("pose_dirs"),
            )
        except (TypeError, ValueError) as e:
            raise BundleError(f"rig: {e}") from e
        return cls(
            model=model,
            faces=a["faces"],
            uv=a["uv"],
            uv_faces=a["uv_faces"],
            hands_mean_l=a["hands_mean_l"],
            hands_mean_r=a["hands_mean_r"],
            expression_names=tuple(expression_names),
        )


def check_array(
    name: str, array: np.ndarray, dtype: str, shape: tuple, symbols: dict[str, int], caps: dict[str, int]
) -> None:
    """Refuse an array of another dtype, rank or size, above a cap, or not finite (BundleError naming it).
    Symbols are filled in and must agree."""
    if str(array.dtype) != dtype or array.ndim != len(shape):
        raise BundleError(f"{name}: got {array.dtype}{list(array.shape)}, expected {dtype}{list(shape)}")
    for size, want in zip(array.shape, shape, strict=True):
        if isinstance(want, str):
            if size > caps.get(want, size):
                raise BundleError(f"{name}: got shape {list(array.shape)}, expected {want} <= {caps[want]}")
            if symbols.setdefault(want, size) != size:
                raise BundleError(
                    f"{name}: got shape {list(array.shape)}, expected {want} = {symbols[want]} as in the other arrays"
                )
        elif size != want:
            raise BundleError(f"{name}: got shape {list(array.shape)}, expected {list(shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BundleError(f"{name}: holds NaN or infinite values")
