"""The body's mesh moved onto a clothed person: offsets in the T-pose, and the person's true colours in
the atlas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.export.completion.atlas import Atlas
from dinar_live.export.completion.nearest import tree_of
from dinar_live.export.completion.surface import Field
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.core.skeleton import PARENTS

from .person import Person

SAMPLES = 100_000  # points of the person's surface
RAY_STEPS = np.r_[-0.012:0.1:0.0065, 0.1:0.24:0.011]  # metres along a vertex's normal that are looked at
RAY_REACH = 0.0072  # metres between a ray's step and a surface point that it meets
ROUNDS = 3
ROBUST = 0.02  # metres: targets that the smooth field misses by more count less
COLOUR_SAMPLES = 10  # nearest surface points whose mean colour a texel takes
COLOUR_NORMAL = 0.025  # metres that a unit of normal counts in that search
DRAPE_WEIGHT = 8.0  # of a skirt's targets: they are exact
# degrees around a leg (0 = outwards, 90 = front), and the angle of the skirt that this becomes
LEG_ANGLE, SKIRT_ANGLE = (0, 90, 140, 180), (0, 62, 94, 94)
LEG_JOINTS = {s: [J[f"{s}_{n}"] for n in ("hip", "knee", "ankle")] for s in ("left", "right")}


@dataclass(frozen=True, eq=False)
class Surface:
    """Points of a person's outer surface in the T-pose: place, normal f64[N,3]; uv f64[N,2]; shade
    f64[N]; part i64[N];
    joint i64[N] (the strongest); hair bool[N] (seen from both sides)."""

    place: np.ndarray
    normal: np.ndarray
    uv: np.ndarray
    shade: np.ndarray
    part: np.ndarray
    joint: np.ndarray
    hair: np.ndarray

    def where(self, keep: np.ndarray) -> Surface:
        """These points only."""
        return Surface(*(getattr(self, k)[keep] for k in self.__dataclass_fields__))


def surface_points(person: Person, rng: np.random.Generator, n: int = SAMPLES) -> Surface:
    """Random points of clothes, hair and skin, without transparent hair and without the skin under
    cloth or hair."""
    flat, roles = person.flat, np.array([p["role"] for p in person.parts])
    used = ~np.isin(roles, ["brow", "lash", "eye", "teeth"])
    v, F = flat["v"], flat["F"]
    faces = np.flatnonzero(used[flat["part"]])
    corner = [v[F[faces, k]] for k in range(3)]
    normal = np.cross(corner[1] - corner[0], corner[2] - corner[0])
    area = np.linalg.norm(normal, axis=1)
    drawn = rng.choice(len(faces), n, p=area / area.sum())
    face = faces[drawn]
    a = rng.random((n, 2))
    a[a.sum(1) > 1] = 1 - a[a.sum(1) > 1]
    w = np.c_[1 - a.sum(1), a]
    part = flat["part"][face]
    s = Surface(
        place=np.einsum("nk,nkc->nc", w, v[F[face]]),
        normal=normal[drawn] / (area[drawn, None] + 1e-12),
        uv=np.einsum("nk,nkc->nc", w, flat["VT"][flat["FT"][face]].astype(float)),
        shade=np.einsum("nk,nk->n", w, flat["shade"][F[face]].astype(float)),
        part=part,
        joint=flat["idx"][F[face, 0], 0],
        hair=np.isin(roles, ["hair", "bun", "tail"])[part],
    )
    for k in np.flatnonzero(roles == "hair"):
        alpha, mine = person.parts[k]["tex"][..., 3], np.flatnonzero(s.part == k)
        h, width = alpha.shape
        row = np.clip(((1 - s.uv[mine, 1] % 1) * h).astype(int), 0, h - 1)
        column = np.clip((s.uv[mine, 0] % 1 * width).astype(int), 0, width - 1)
        keep = np.ones(len(s.part), bool)
        keep[mine[alpha[row, column] < 110]] = False
        s = s.where(keep)
    skin = roles[s.part] == "skin"
    tree = tree_of(s.place[~skin])
    bare = np.flatnonzero(skin)
    under = np.zeros(len(bare), bool)
    for step in (0.004, 0.01, 0.018, 0.028):
        distance, _ = tree.query(s.place[bare] + step * s.normal[bare], distance_upper_bound=0.006)
        under |= distance < 0.006
    keep = np.ones(len(s.part), bool)
    keep[bare[under]] = False
    s = s.where(keep)
    return s.where(~_lining(s))


def _lining(s: Surface) -> np.ndarray:
    """Cloth close under other cloth that faces the same way, bool[N]: linings, shirts under jackets."""
    cloth = np.flatnonzero(~s.hair)
    tree, under = tree_of(s.place[cloth]), np.zeros(len(s.part), bool)
    for step in (0.009, 0.015, 0.022):
        distance, hit = tree.query(s.place[cloth] + step * s.normal[cloth], distance_upper_bound=0.005)
        met = distance < 0.005
        hit = np.where(met, hit, 0)
        same = np.einsum("nc,nc->n", s.normal[cloth], s.normal[cloth[hit]]) > 0.5
        under[cloth[met & same]] = True
    return under


class Wrapper(Field):
    """Fixed maps of the body, and the wrap of people around it."""

    def __init__(self, rig: Rig, atlas: Atlas):
        super().__init__(rig, atlas)
        self.faces = rig.faces
        self._near, self._near_hair = _neighbours()

    def wrap(self, person: Person, surface: Surface, rng: np.random.Generator) -> np.ndarray:
        """Offsets f32[V,3] in metres from the person's bare body to its outer surface in the T-pose."""
        x = person.rig.model.vertices.astype(float)
        target, weight = self._rays(person, x, surface, rng)
        for loft in person.drapes:
            self._drape(person, x, loft, target, weight)
        offset = np.zeros_like(target)
        for k in range(ROUNDS):
            residual = np.linalg.norm(offset - target, axis=1)
            offset = self.smoothed(target, weight * (1 if k == 0 else ROBUST / np.maximum(residual, ROBUST)))
        return offset.astype(np.float32)

    def _normals(self, x: np.ndarray) -> np.ndarray:
        normal = self.atlas.normals(x).astype(float)
        for _ in range(4):
            normal = 0.4 * normal + 0.6 * (normal - self.laplacian @ normal)
            normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        return normal

    def _rays(self, person: Person, x: np.ndarray, s: Surface, rng) -> tuple[np.ndarray, np.ndarray]:
        """Along each vertex's normal to the outermost surface that can belong to it: targets f64[V,3],
        weights f64[V]."""
        normal = self._normals(x)
        vertex = np.flatnonzero(self.atlas.skin_vertex & (self.stay < 1))
        vertex = vertex[~self._inner(x, normal, vertex, rng)]
        n = normal[vertex]
        steps = x[vertex, None] + RAY_STEPS[None, :, None] * n[:, None]
        _, hit = tree_of(s.place).query(steps.reshape(-1, 3), distance_upper_bound=RAY_REACH)
        hit = hit.reshape(steps.shape[:2])
        ok = hit < len(s.place)
        hit = np.where(ok, hit, 0)
        facing = np.einsum("vsc,vc->vs", s.normal[hit], n)
        ok &= np.where(s.hair[hit], np.abs(facing), facing) > 0.15
        mine = self.joint[vertex][:, None]
        ok &= np.where(s.hair[hit], self._near_hair[mine, s.joint[hit]], self._near[mine, s.joint[hit]])
        # no ray from one leg to the other's far side
        side = np.sign(x[vertex, 0])[:, None] * s.place[hit, 0]
        ok &= ~((np.abs(x[vertex, 0]) > 0.012)[:, None] & (side < -0.004))
        last = np.where(ok, np.arange(len(RAY_STEPS)), -1).max(1)
        met = last >= 0
        point = s.place[hit[np.arange(len(vertex)), np.maximum(last, 0)]]
        along = np.einsum("vc,vc->v", point - x[vertex], n)
        target, weight = np.zeros((len(x), 3)), np.zeros(len(x))
        target[vertex[met]], weight[vertex[met]] = along[met, None] * n[met], 1
        return target, weight

    def _inner(self, x: np.ndarray, normal: np.ndarray, vertex: np.ndarray, rng) -> np.ndarray:
        """Vertices in mouth, sockets and folds, bool[n]: their normal meets the bare body's outside
        from behind."""
        f = self.faces[self.atlas.skin_vertex[self.faces].all(1)]
        a, b, c = (x[f[:, k]] for k in range(3))
        cross = np.cross(b - a, c - a)
        area = np.linalg.norm(cross, axis=1)
        drawn = rng.choice(len(f), SAMPLES // 2, p=area / area.sum())
        w = rng.dirichlet([1] * 3, len(drawn))
        place = np.einsum("nk,nkc->nc", w, x[f[drawn]])
        out = cross[drawn] / area[drawn, None]
        steps = x[vertex, None] + np.r_[0.015:0.12:0.01][None, :, None] * normal[vertex, None]
        _, hit = tree_of(place).query(steps.reshape(-1, 3), distance_upper_bound=0.008)
        hit = hit.reshape(steps.shape[:2])
        ok = hit < len(place)
        hit = np.where(ok, hit, 0)
        facing = np.einsum("vsc,vc->vs", out[hit], normal[vertex]) > 0.2
        near = self._near[self.joint[vertex][:, None], self.joint[f[drawn[hit], 0]]]
        return (ok & facing & near).any(1)

    def _drape(self, person: Person, x: np.ndarray, loft, target: np.ndarray, weight: np.ndarray) -> None:
        """Each leg takes its half of a skirt: its outside goes sideways, what faces the other leg folds
        into a wall in the
        middle, a little over it, so that the skirt is closed. In place."""
        q = person.joints
        for side, sign in (("left", 1.0), ("right", -1.0)):
            leg = np.flatnonzero(np.isin(self.joint, LEG_JOINTS[side]) & self.atlas.skin_vertex)
            line = np.array([q[j] for j in LEG_JOINTS[side]])[::-1]
            axis = np.stack([np.interp(x[leg, 1], line[:, 1], line[:, c]) for c in (0, 2)], 1)
            angle = np.arctan2(x[leg, 2] - axis[:, 1], sign * (x[leg, 0] - axis[:, 0]))
            turn = np.abs(angle)
            turned = np.interp(turn, *np.radians([LEG_ANGLE, SKIRT_ANGLE])) * np.sign(angle)
            ends = [loft.surface(x[leg, 1], t if sign > 0 else np.pi - t) for t in (turned, -turned)]
            wall = (
                0.5
                * np.clip((turn - np.radians(LEG_ANGLE[-2])) / np.radians(180 - LEG_ANGLE[-2]), 0, 1)[:, None]
            )
            point = ends[0][0] * (1 - wall) + ends[1][0] * wall
            there = ends[0][1]
            target[leg[there]], weight[leg[there]] = (point - x[leg])[there], DRAPE_WEIGHT

    def draped(self, person: Person) -> np.ndarray:
        """Vertices that carry hanging cloth, bool[V]."""
        weight = np.zeros(len(self.joint))
        x = person.rig.model.vertices.astype(float)
        for loft in person.drapes:
            self._drape(person, x, loft, np.zeros_like(x), weight)
        return weight > 0

    def colour_links(self, person: Person, offset: np.ndarray, s: Surface) -> np.ndarray:
        """For every covered texel of the moved mesh the surface points that give it its colour,
        i64[n,10]."""
        x = person.rig.model.vertices + offset
        normal = self.atlas.at(self.atlas.normals(x))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        tree = tree_of(np.c_[s.place, COLOUR_NORMAL * s.normal])
        places = np.c_[self.atlas.at(x), COLOUR_NORMAL * normal]
        return np.asarray(tree.query(places, k=COLOUR_SAMPLES)[1])


def true_colours(person: Person, s: Surface, links: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Colours u8[n,3] (sRGB) of texels linked to surface points, with the baked light; linear f32[256]:
    sRGB -> linear."""
    flat, k = person.flat, s.part
    height, width = flat["th"][k], flat["tw"][k]
    column = np.clip((s.uv[:, 0] % 1 * width).astype(int), 0, width - 1)
    row = np.clip(((1 - s.uv[:, 1] % 1) * height).astype(int), 0, height - 1)
    colour = linear[flat["tex"][flat["toff"][k] + row * width + column, :3]] * s.shade[:, None]
    return (np.clip(colour[links].mean(1), 0, 1) ** 0.4545 * 255 + 0.5).astype(np.uint8)


def _neighbours() -> tuple[np.ndarray, np.ndarray]:
    """Which joints' surfaces a vertex of a joint may meet, bool[55,55]: two steps along the skeleton;
    hair also far."""
    n = len(PARENTS)
    steps = np.full((n, n), 99)
    for i, p in enumerate(PARENTS):
        steps[i, i] = 0
        if p >= 0:
            steps[i, p] = steps[p, i] = 1
    for k in range(n):
        steps = np.minimum(steps, steps[:, k : k + 1] + steps[k])
    near = steps <= 2
    hair = near.copy()
    for j in (J["head"], J["neck"]):
        hair[:, j] = hair[j, :] = True
    return near, hair
