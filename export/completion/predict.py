"""From one photo or several to a whole person: the network's offsets and colours, refined by masks and
photos. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.engines import EngineError, create_engine
from dinar_live.export.fill import extend, fill_texture
from dinar_live.export.fit.frames import with_offsets
from dinar_live.export.inputs import View
from dinar_live.export.projection import (
    FEATHER,
    check_expressions,
    feathered,
    mean_betas,
    merge_views,
    seen_shares,
)
from dinar_live.export.texture_space import Projection, texels
from dinar_live.runtime.avatar import Avatar, Body, RendererSpec, Rig
from dinar_live.runtime.core.errors import InputError

from .atlas import Atlas
from .features import (
    BASES,
    PER_SHELL,
    SEEN,
    SHELLS,
    input_planes,
    planes_of,
    sources_of,
    texel_features,
)
from .outline import frame_of, refined
from .renderers import NEURAL, GenericRenderer, known_channels
from .surface import Field, with_hanging_weights

SIZE = 128  # texels a side that the network works on
PICTURE = 256  # pixels a side of the photo it was trained on
FILLS = 0.84  # of that side, which the person fills
OUTPUTS = {"free": 3, "offset": 3, "error": 1, "drape": 1}  # channels, beside the weights
UNSEEN = 0.03  # weight of a view where it does not see the surface


@dataclass(frozen=True, eq=False)
class Completion:
    """What the network says of one view. offset f32[3,T,T] metres; error f32[T,T] (expected, metres);
    drape f32[T,T] in
    [0,1]; weights f32[sources_of(photos)+1,T,T]; free, low f32[3,T,T] (painted colour; the whole colour at this
    size);
    seen f32[T,T]: how well the view sees a texel; other: number of the second view that it looked at, or
    None."""

    offset: np.ndarray
    error: np.ndarray
    drape: np.ndarray
    weights: np.ndarray
    free: np.ndarray
    low: np.ndarray
    seen: np.ndarray
    other: int | None = None


def person_square(view: View) -> tuple[np.ndarray, np.ndarray]:
    """The person of a view in a square of PICTURE pixels: premultiplied f32[S,S,4], and the matrix
    f64[3,4] of its pixels."""
    row, column = np.nonzero(view.mask > 0.5)
    if not len(row):
        raise InputError(f"{view.name}: the mask is empty")
    low, high = np.array([column.min(), row.min()]), np.array([column.max(), row.max()]) + 1
    side = (high - low).max() / FILLS
    corner = (low + high - side) / 2
    scale = PICTURE / side
    picture = np.dstack(
        [view.rgb.astype(np.float32) / 255 * view.mask[..., None], view.mask.astype(np.float32)]
    )
    if scale < 1:  # cv2 does not average what it skips in a warp
        h, w = (max(1, round(s * scale)) for s in picture.shape[:2])
        shrink = np.array([w / picture.shape[1], h / picture.shape[0]])
        picture = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    else:
        shrink = np.ones(2)
    rest = scale / shrink
    move = -corner * scale
    warp = np.array(
        [[rest[0], 0, move[0] + 0.5 * rest[0] - 0.5], [0, rest[1], move[1] + 0.5 * rest[1] - 0.5]]
    )
    picture = cv2.warpAffine(picture, warp, (PICTURE, PICTURE), flags=cv2.INTER_LINEAR)
    change = np.array([[scale, 0, move[0]], [0, scale, move[1]], [0, 0, 1]])
    return picture, change @ view.camera.matrix


class Completer:
    """The network, loaded once. model: path or bytes of the ONNX file; renderers: generic ones that avatars
    get beside `texture`. Raises InputError where it is not a completion network."""

    def __init__(
        self,
        model,
        body: Body,
        *,
        threads: int = 0,
        renderers: Mapping[str, GenericRenderer] | None = None,
    ):
        self.renderers = renderers or {}
        self.body = body
        what = "the completion network" if isinstance(model, bytes) else str(model)
        try:
            engine = create_engine(model, name="openvino", precision="f32", threads=threads)
            self._session = engine.compile((1, SIZE, SIZE))
            self.photos = self._check(self._session)
        except (EngineError, ValueError) as e:
            raise InputError(f"{what}: not the ONNX file of a completion network ({e})") from e
        self.rig = body.rig(np.zeros(10, np.float32))
        self.atlas = Atlas(self.rig, SIZE)
        self.field = Field(self.rig, self.atlas)
        self._fine: Atlas | None = None

    @staticmethod
    def _check(session) -> int:
        """How many photos the network looks at. ValueError where inputs or outputs are not the network's."""
        shapes = {k: v.shape for k, v in [*session.inputs.items(), *session.outputs.items()]}
        photos = 2 if shapes.get("planes", (0, 0))[1] == planes_of(2) else 1
        wanted = {"planes": planes_of(photos), "weights": sources_of(photos) + 1} | OUTPUTS
        wrong = {k: shapes.get(k) for k, c in wanted.items() if shapes.get(k) != (1, c, SIZE, SIZE)}
        if wrong:
            raise ValueError(
                f"got {shapes}, expected {{{', '.join(f'{k}: [1,{c},{SIZE},{SIZE}]' for k, c in wanted.items())}}}"
            )
        return photos

    def run(self, planes: np.ndarray) -> dict[str, np.ndarray]:
        """The network on planes f32[1,planes_of(photos),T,T]."""
        self._session.inputs["planes"][...] = planes
        self._session.enqueue()
        self._session.synchronize()
        return {k: v.copy() for k, v in self._session.outputs.items()}

    def look(self, views: Sequence[View], rig: Rig) -> list[Completion]:
        """What the network says of each view of the body `rig`; one of two photos looks at the view from
        the most different side too."""
        squares = [person_square(v) for v in views]
        own = [
            texel_features(self.atlas, rig, v.pose, matrix, picture)
            for v, (picture, matrix) in zip(views, squares, strict=True)
        ]
        return [self._look(own, k) for k in range(len(views))]

    def _look(self, own: Sequence[np.ndarray], k: int) -> Completion:
        other = _most_different(own, k) if self.photos == 2 else None
        second = None if self.photos == 1 else [None if other is None else own[other]]
        planes = input_planes(self.atlas, own[k][None], second)
        out = self.run(planes)
        source = sources(planes[0], self.photos)
        low = (
            np.einsum("khw,kchw->chw", out["weights"][0, :-1], source)
            + out["weights"][0, -1:] * out["free"][0]
        )
        cosine, visible = planes[0, SEEN - 4], planes[0, SEEN - 3]
        return Completion(
            out["offset"][0], np.exp(out["error"][0, 0]), 1 / (1 + np.exp(-out["drape"][0, 0])),
            out["weights"][0],
            out["free"][0], low, visible * np.maximum(cosine, 0) + UNSEEN,
            other,
        )  # fmt: skip

    def mesh(self, looks: Sequence[Completion]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets f64[V,3], their expected error f64[V] in metres and drape f64[V] in [0,1] of all
        views together."""
        weight = np.stack([c.seen / c.error for c in looks])
        weight /= weight.sum(0)

        def mean(k: str) -> np.ndarray:
            return np.asarray(sum(w * getattr(c, k) for w, c in zip(weight, looks, strict=True)))

        planes = np.concatenate([mean("offset"), mean("error")[None], mean("drape")[None]])
        v = self.field.at_vertices(planes)
        error, drape = np.clip(v[:, 3], 1e-3, 0.3), np.clip(v[:, 4], 0, 1)
        sure = np.clip(np.median(error) / error, 0.1, 4) * self.atlas.skin_vertex
        return self.field.smoothed(v[:, :3], sure), error, drape

    def texture(self, looks: Sequence[Completion], views: Sequence[View], rig: Rig, size: int) -> np.ndarray:
        """Colours f32[size,size,3] of the whole body as the network copies and paints them, from the
        photos themselves."""
        fine = self._fine_atlas(size)
        enlarge = lambda p: _enlarged(p, self.atlas.covered, size).reshape(size * size, -1)[fine.flat]  # noqa: E731
        total, weight = 0, 0
        every = [self._shells(fine, rig, v) for v in views]
        for k, look in enumerate(looks):
            shells = np.concatenate([every[k], every[k][fine.mirror]], 1)
            if self.photos == 2:
                second = np.zeros_like(every[k]) if look.other is None else every[look.other]
                shells = np.concatenate([shells, second], 1)
            rgb = (shells[..., :3] / np.maximum(shells[..., 3:], 0.05)).clip(0, 1)
            w = enlarge(look.weights)
            use = w[:, :-1] * np.clip(2 * shells[..., 3] - 1, 0, 1)
            missed = (w[:, :-1] - use).sum(1, keepdims=True)
            colour = (
                np.einsum("nk,nkc->nc", use, rgb)
                + missed * enlarge(look.low)
                + w[:, -1:] * enlarge(look.free)
            )
            seen = enlarge(look.seen[None])
            total, weight = total + seen * colour, weight + seen
        out = np.zeros((size * size, 3), np.float32)
        out[fine.flat] = total / weight
        return out.reshape(size, size, 3)

    @staticmethod
    def _shells(atlas: Atlas, rig: Rig, view: View) -> np.ndarray:
        """What the whole photo shows at the shells, f32[n,shells,PER_SHELL]."""
        picture = np.dstack(
            [view.rgb.astype(np.float32) / 255 * view.mask[..., None], view.mask.astype(np.float32)]
        )
        f = texel_features(atlas, rig, view.pose, view.camera.matrix, picture)
        return f[:, : len(SHELLS) * PER_SHELL].reshape(-1, len(SHELLS), PER_SHELL)

    def _fine_atlas(self, size: int) -> Atlas:
        if self._fine is None or self._fine.size != size:
            self._fine = Atlas(self.rig, size)
        return self._fine

    def complete(
        self,
        views: Sequence[View],
        *,
        name: str,
        texture_size: int = 512,
        refine: bool = True,
        licence: str = "",
    ) -> tuple[Avatar, dict[str, float]]:
        """An avatar (renderer `texture`, and before it those that were given) of one person from one view or
        several, and figures: the shares of the surface seen. Raises InputError."""
        rig = self.body.rig(mean_betas(views))
        check_expressions(views, rig)
        looks = self.look(views, rig)
        offset, error, drape = self.mesh(looks)
        painted = self.texture(looks, views, rig, texture_size)
        rig = with_hanging_weights(rig, offset, drape)
        if refine:
            offset = refined(self.field, rig, offset, [frame_of(v) for v in views], error)
        moved = with_offsets(rig, offset.astype(np.float32))
        texture, figures = self._painted(moved, views, painted)
        texture = np.ascontiguousarray(texture)
        specs = {}
        if self.renderers:
            known = self._known(looks, rig, moved, NEURAL)
            specs = {k: r.spec(texture, known) for k, r in self.renderers.items()}
        avatar = Avatar(
            name=name,
            rig=moved,
            renderers=specs | {"texture": RendererSpec(texture, samples=2)},
            body_kind=self.body.kind,
            licence=licence,
            provenance={
                "method": "completion",
                "photos": [v.name for v in views],
                "texture_size": texture_size,
            },
        )
        return avatar, figures

    def _known(self, looks: Sequence[Completion], rig: Rig, moved: Rig, size: int) -> np.ndarray:
        """What generic renderers are told of every texel, f32[size,size,len(KNOWN)]."""
        weight = np.stack([c.seen / c.error for c in looks])
        weight /= weight.sum(0)
        mean = lambda planes: (weight * np.stack(planes)).sum(0)  # noqa: E731
        offset = self.atlas.at(moved.model.vertices - rig.model.vertices)
        normal = self.atlas.at(self.atlas.normals(rig.model.vertices))
        planes = known_channels(
            mean([c.error for c in looks]),
            mean([c.drape for c in looks]),
            self.atlas.plane(offset),
            self.atlas.plane(normal),
            np.max([c.seen for c in looks], 0),
            mean([c.weights[-1] for c in looks]),
        )
        return _enlarged(planes, self.atlas.covered, size)

    def _painted(
        self, rig: Rig, views: Sequence[View], painted: np.ndarray
    ) -> tuple[np.ndarray, dict[str, float]]:
        """The photos projected onto the moved mesh, the network's colours elsewhere; eyes and teeth as
        projection has them: u8[T,T,3], and the shares seen."""
        size = len(painted)
        tx, fine = texels(rig, size), self._fine_atlas(size)
        projections = [Projection(v, rig) for v in views]
        sampled = [p.sample(rig, tx) for p in projections]
        figures = seen_shares(views, sampled, tx)
        weight = np.stack([feathered(s.valid, tx.covered, FEATHER * size / 1024) for s in sampled])
        rgb, seen = merge_views(
            np.stack([s.rgb for s in sampled]), np.stack([s.cosine for s in sampled]), weight
        )
        out = seen[..., None] * rgb + (1 - seen[..., None]) * painted
        skin = np.zeros(size * size, bool)
        skin[fine.flat] = fine.skin
        other = fill_texture(rig, tx, rgb, seen, [p.rim() for p in projections])
        out = extend(np.where(skin.reshape(size, size, 1), out, other), tx.covered)
        return (np.clip(out, 0, 1) * 255 + 0.5).astype(np.uint8), figures


def _most_different(own: Sequence[np.ndarray], k: int) -> int | None:
    """The view that sees the body from the side most unlike view k's, of their features; None where there
    is one."""
    cosine = np.stack([f[:, SEEN - 4] for f in own])
    alike = cosine @ cosine[k]
    alike[k] = np.inf
    return int(alike.argmin()) if len(own) > 1 else None


def sources(planes: np.ndarray, photos: int = 1) -> np.ndarray:
    """Colours f32[sources_of(photos),3,T,T] that can be copied, of planes f32[planes_of(photos),T,T]."""
    shells = len(SHELLS) * PER_SHELL
    s = np.concatenate(
        [
            planes[b : b + shells].reshape(len(SHELLS), PER_SHELL, *planes.shape[1:])
            for b in BASES[: 1 + photos]
        ]
    )
    return (s[:, :3] / np.maximum(s[:, 3:], 0.05)).clip(0, 1)


def _enlarged(planes: np.ndarray, covered: np.ndarray, size: int) -> np.ndarray:
    """Planes f32[C,T,T] as f32[size,size,C], without the uncovered texels bleeding in."""
    image = extend(np.ascontiguousarray(planes.transpose(1, 2, 0)), covered).astype(np.float32)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, -1)
