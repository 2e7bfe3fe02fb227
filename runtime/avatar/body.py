"""Body: a parametric body in the SMPL-X layout, from the free open body or from a user's own SMPL-X model
file."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.errors import BodyError
from dinar_live.runtime.core.short_repr import short_repr
from dinar_live.runtime.core.skeleton import JOINT_NAMES, PARENTS
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.formats.npz import Npz

from .rig import Rig

MAX_BYTES = 1 << 30  # SMPL-X with 300+100 columns in float64 takes 250 MB
COMMON_KEYS = ("v_template", "shapedirs")
OPEN_KEYS = (
    "faces",
    "parents",
    "joint_names",
    "J_regressor_row",
    "J_regressor_col",
    "J_regressor_val",
    "lbs_idx",
    "lbs_w",
    "exprdirs",
    "expression_names",
    "uv",
    "uv_faces",
    "hands_mean_l",
    "hands_mean_r",
)
SMPLX_KEYS = (
    "f",
    "kintree_table",
    "J_regressor",
    "weights",
    "posedirs",
    "hands_meanl",
    "hands_meanr",
    "vt",
    "ft",
)


@dataclass(frozen=True, eq=False)
class Body:
    """A parametric body with the 55 SMPL-X joints.

    template f32[V,3] metres (T-pose, Y up, facing +Z); shape_dirs f32[V,3,B]; expression_dirs f32[V,3,E];
    pose_dirs f32[486,V,3] | None; joint_regressor f32[55,V]; weights f32[V,55]; faces i32[F,3]; uv f32[T,2]
    (v down); uv_faces i32[F,3]; hands_mean_l/_r f32[45].
    """

    kind: str
    template: np.ndarray
    shape_dirs: np.ndarray
    expression_dirs: np.ndarray
    pose_dirs: np.ndarray | None
    joint_regressor: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    hands_mean_l: np.ndarray
    hands_mean_r: np.ndarray
    expression_names: tuple[str, ...]

    __repr__ = short_repr

    @classmethod
    def open(cls) -> Body:
        """The open body that ships with the package (CC0)."""
        return cls.load(pathlib.Path(__file__).parents[1] / "assets" / "open_body.npz")

    @classmethod
    def load(cls, path) -> Body:
        """An .npz with the keys of open_body.npz or of an SMPL-X model (10+10 or 300+100 columns). Object
        arrays are never read. Raises BodyError naming the file and the key."""
        path = pathlib.Path(path)
        if not path.is_file():
            raise BodyError(f"{path}: no such file; expected a body model .npz (SMPL-X: SMPLX_NEUTRAL.npz)")
        try:
            with Npz(path, MAX_BYTES) as z:
                wanted = COMMON_KEYS + (OPEN_KEYS if "lbs_idx" in z.keys else SMPLX_KEYS)
                if missing := [k for k in wanted if k not in z.keys]:
                    raise BodyError(
                        f"{path}: keys {missing} are missing; expected an SMPL-X model .npz with {list(COMMON_KEYS + SMPLX_KEYS)}"
                    )
                a = {k: z.read(k) for k in wanted}
        except (ValueError, OSError) as e:
            raise BodyError(f"{path}: not a readable .npz of plain arrays ({e})") from e
        try:
            return cls._from_open(a) if "lbs_idx" in a else cls._from_smplx(a)
        except (ValueError, IndexError, TypeError) as e:
            raise BodyError(f"{path}: {e}") from e

    @classmethod
    def _from_open(cls, a) -> Body:
        V = len(a["v_template"])
        regressor = np.zeros((55, V), np.float32)
        regressor[a["J_regressor_row"], a["J_regressor_col"]] = a["J_regressor_val"]
        weights = np.zeros((V, 55), np.float32)
        np.add.at(weights, (np.arange(V)[:, None], a["lbs_idx"].astype(np.int64)), a["lbs_w"])
        return cls._checked(
            a["parents"],
            cls(
                kind="open",
                template=a["v_template"],
                shape_dirs=a["shapedirs"],
                expression_dirs=a["exprdirs"],
                pose_dirs=None,
                joint_regressor=regressor,
                weights=weights,
                faces=a["faces"],
                uv=a["uv"],
                uv_faces=a["uv_faces"],
                hands_mean_l=a["hands_mean_l"],
                hands_mean_r=a["hands_mean_r"],
                expression_names=tuple(str(n) for n in a["expression_names"]),
            ),
        )

    @classmethod
    def _from_smplx(cls, a) -> Body:
        columns = a["shapedirs"].shape[-1]
        split = {20: 10, 400: 300}.get(columns)
        if split is None:
            raise ValueError(
                f"shapedirs: got {columns} columns, expected 20 (10 shape + 10 expression) or 400 (300 + 100)"
            )
        posedirs = np.asarray(a["posedirs"])
        if posedirs.ndim != 3 or posedirs.shape[1:] != (3, 486):
            raise ValueError(f"posedirs: got shape {list(posedirs.shape)}, expected [V,3,486]")
        parents = np.asarray(a["kintree_table"])[0].astype(np.int64)
        parents[0] = -1  # stored as 2**32 - 1
        pose_dirs = np.ascontiguousarray(posedirs.transpose(2, 0, 1), np.float32)
        return cls._checked(
            parents,
            cls(
                kind="smplx",
                template=a["v_template"],
                shape_dirs=a["shapedirs"][..., :split],
                expression_dirs=a["shapedirs"][..., split:],
                pose_dirs=pose_dirs if pose_dirs.any() else None,
                joint_regressor=a["J_regressor"],
                weights=a["weights"],
                faces=a["f"],
                uv=a["vt"],
                uv_faces=a["ft"],
                hands_mean_l=a["hands_meanl"],
                hands_mean_r=a["hands_meanr"],
                expression_names=(),
            ),
        )

    @classmethod
    def _checked(cls, parents, raw: Body) -> Body:
        """The body that a file holds, with its arrays checked and as they are kept. raw: as in the file, v of
        uv upwards. Raises ValueError."""
        V, F = len(raw.template), len(raw.faces)
        if [int(p) for p in parents] != list(PARENTS):
            raise ValueError(
                f"parents: got {np.asarray(parents).tolist()}, expected the 55 joints of SMPL-X ({JOINT_NAMES[0]}, {JOINT_NAMES[1]}, ...)"
            )
        f = {
            n: checked(n, v, s)
            for n, v, s in (
                ("v_template", raw.template, (V, 3)),
                ("shapedirs", raw.shape_dirs, (V, 3, -1)),
                ("expression directions", raw.expression_dirs, (V, 3, -1)),
                ("J_regressor", raw.joint_regressor, (55, V)),
                ("weights", raw.weights, (V, 55)),
                ("uv", raw.uv, (-1, 2)),
                ("left hand mean", np.ravel(raw.hands_mean_l), (45,)),
                ("right hand mean", np.ravel(raw.hands_mean_r), (45,)),
            )
        }
        pose_dirs = raw.pose_dirs
        if pose_dirs is not None:
            pose_dirs = checked("posedirs", pose_dirs, (486, V, 3))
        for name, index, limit in (("faces", raw.faces, V), ("uv faces", raw.uv_faces, len(f["uv"]))):
            if index.shape != (F, 3) or index.min() < 0 or index.max() >= limit:
                raise ValueError(
                    f"{name}: got shape {list(index.shape)} with indices up to {index.max()}, expected [{F},3] below {limit}"
                )
        # Files store v upwards; here it grows downwards, like rows.
        uv = f["uv"] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
        return cls(
            kind=raw.kind,
            template=f["v_template"],
            shape_dirs=f["shapedirs"],
            expression_dirs=f["expression directions"],
            pose_dirs=pose_dirs,
            joint_regressor=f["J_regressor"],
            weights=f["weights"],
            faces=np.ascontiguousarray(raw.faces, np.int32),
            uv=np.ascontiguousarray(uv),
            uv_faces=np.ascontiguousarray(raw.uv_faces, np.int32),
            hands_mean_l=f["left hand mean"],
            hands_mean_r=f["right hand mean"],
            expression_names=raw.expression_names,
        )

    def rig(self, betas=()) -> Rig:
        """Fold `betas` [up to B] into a rig. Weights are kept sparse (as many slots as the busiest vertex has
        joints), expressions sparse over vertices."""
        betas = checked("betas", betas, (-1,), 50.0)
        if len(betas) > self.shape_dirs.shape[2]:
            raise BodyError(
                f"betas: got {len(betas)} values, expected at most {self.shape_dirs.shape[2]} for this body"
            )
        vertices = self.template + self.shape_dirs[..., : len(betas)] @ betas
        regressor = self.joint_regressor.astype(np.float64)
        joint_dirs = np.einsum(
            "jv,vce->jce", regressor, self.expression_dirs.astype(np.float64), optimize=True
        )
        moved = np.flatnonzero(np.abs(self.expression_dirs).max(axis=(1, 2), initial=0) > 0)
        slots = max(1, int((self.weights > 1e-7).sum(1).max()))
        index = np.argsort(-self.weights, axis=1, kind="stable")[:, :slots]
        weight = np.take_along_axis(self.weights, index, 1).clip(0)
        weight /= weight.sum(1, keepdims=True)
        return Rig.from_arrays(
            {
                "vertices": np.ascontiguousarray(vertices, np.float32),
                "joints": np.ascontiguousarray(regressor @ vertices, np.float32),
                "skin_index": np.ascontiguousarray(index, np.uint16),
                "skin_weight": np.ascontiguousarray(weight, np.float32),
                "expression_vertex": moved.astype(np.int32),
                "expression_dirs": np.ascontiguousarray(self.expression_dirs[moved]),
                "expression_joint_dirs": np.ascontiguousarray(joint_dirs, np.float32),
                "faces": self.faces,
                "uv": self.uv,
                "uv_faces": self.uv_faces,
                "hands_mean_l": self.hands_mean_l,
                "hands_mean_r": self.hands_mean_r,
                **({} if self.pose_dirs is None else {"pose_dirs": self.pose_dirs}),
            },
            self.expression_names,
        )
