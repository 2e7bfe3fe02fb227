"""Surfaces that the assets lack, drawn around a person in the T-pose: skirts, dresses, coats, collars,
boots, buns, tails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDES = 72
RING = 0.02  # metres between rings
HULL_WINDOW = 0.03  # metres of height that a slice of the person is taken of
NARROW = 0.06  # flare (metres per metre) below which a skirt follows hips and thighs
HULL_FAR = 1.3  # radians to each side that bound a slice's convex hull in one direction


@dataclass(frozen=True, eq=False)
class Loft:
    """Rings around a nearly vertical axis, the highest first: height f64[R], centre f64[R,2] (x, z),
    radius f64[R,S].

    Angle k is 2 pi k / S from +x (the person's left) towards +z (front). opening f64[R]: half of the
    angle left open
    in front, radians (0 = closed).
    """

    height: np.ndarray
    centre: np.ndarray
    radius: np.ndarray
    opening: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """Vertices f64[R,S,3]."""
        angle = 2 * np.pi * np.arange(self.radius.shape[1]) / self.radius.shape[1]
        x = self.centre[:, :1] + self.radius * np.cos(angle)
        z = self.centre[:, 1:] + self.radius * np.sin(angle)
        return np.stack([x, np.broadcast_to(self.height[:, None], x.shape), z], 2)

    def surface(self, height: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points f64[n,3] of the surface at these heights and angles, and bool[n] where there is
        cloth."""
        ring = np.interp(-height, -self.height, np.arange(len(self.height)))
        i = np.minimum(ring.astype(int), len(self.height) - 2)
        t = ring - i
        sides = self.radius.shape[1]
        k = (angle / (2 * np.pi) * sides) % sides
        k0 = k.astype(int) % sides
        k1, s = (k0 + 1) % sides, k - k.astype(int)
        around = lambda j: self.radius[j, k0] * (1 - s) + self.radius[j, k1] * s  # noqa: E731
        radius = around(i) * (1 - t) + around(i + 1) * t
        centre = self.centre[i] * (1 - t[:, None]) + self.centre[i + 1] * t[:, None]
        point = np.stack(
            [centre[:, 0] + radius * np.cos(angle), height, centre[:, 1] + radius * np.sin(angle)], 1
        )
        from_front = np.abs((angle - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi)
        there = (height <= self.height[0]) & (height >= self.height[-1])
        return point, there & (from_front >= np.interp(-height, -self.height, self.opening))

    def mesh(self, repeats: float = 3.0) -> dict[str, np.ndarray]:
        """v f64[N,3], f and ft i64[F,3] (outwards), vt f64[M,2]; the texture repeats this often
        around."""
        rings, sides = self.radius.shape
        j, k = (a.ravel() for a in np.mgrid[0 : rings - 1, 0:sides])
        quad = lambda n: np.stack([j * n + k, j * n + k + 1, (j + 1) * n + k + 1, (j + 1) * n + k], 1)  # noqa: E731
        uv_quad, quads = quad(sides + 1), quad(sides)
        last = k == sides - 1
        quads[last, 1], quads[last, 2] = j[last] * sides, (j[last] + 1) * sides
        middle = 2 * np.pi * (k + 0.5) / sides
        open_ = np.abs(middle - np.pi / 2) < 0.5 * (self.opening[j] + self.opening[j + 1])
        quads, uv_quad = quads[~open_], uv_quad[~open_]
        triangles = lambda q: np.concatenate([q[:, [0, 1, 2]], q[:, [0, 2, 3]]])  # noqa: E731
        u, v = np.meshgrid(np.linspace(0, repeats, sides + 1), np.linspace(1, 0, rings))
        v = np.clip(v, 0.002, 0.998)
        return dict(
            v=self.points.reshape(-1, 3),
            f=triangles(quads),
            ft=triangles(uv_quad),
            vt=np.stack([u.ravel(), v.ravel()], 1),
        )


def radial_hull(cloud: np.ndarray, height: np.ndarray, centre: np.ndarray | None = None):
    """Convex outlines of horizontal slices of points f64[N,3] at heights [R]: centre f64[R,2], radius
    f64[R,SIDES]."""
    angle = 2 * np.pi * np.arange(SIDES) / SIDES
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)
    turn = angle[None] - angle[:, None]
    turn = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    inverse = np.where(turn < HULL_FAR, 1 / np.maximum(np.cos(turn), 1e-3), np.inf)
    centres, radii = np.zeros((len(height), 2)), np.zeros((len(height), SIDES))
    for j, y in enumerate(height):
        near = np.abs(cloud[:, 1] - y)
        q = cloud[
            near < max(HULL_WINDOW, np.partition(near, min(24, len(near) - 1))[min(24, len(near) - 1)])
        ][:, [0, 2]]
        c = np.array([0.0, 0.5 * (q[:, 1].min() + q[:, 1].max())]) if centre is None else centre[j]
        support = np.maximum(((q - c) @ direction.T).max(0), 0.01)
        centres[j], radii[j] = c, (support[None] * inverse).min(1)
    return centres, radii


def _smooth_rings(radius: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        padded = np.concatenate([radius[:1], radius, radius[-1:]])
        radius = 0.25 * padded[:-2] + 0.5 * radius + 0.25 * padded[2:]
        radius = 0.25 * np.roll(radius, 1, 1) + 0.5 * radius + 0.25 * np.roll(radius, -1, 1)
    return radius


def hanging(
    rng: np.random.Generator,
    cloud: np.ndarray,
    top: float,
    hem: float,
    *,
    flare: float,
    open_front: bool,
) -> Loft:
    """Cloth that hangs from height `top` to `hem` (metres) around a cloud f64[N,3] of hips and legs.

    flare: metres that the hem stands further off per metre of length. Folds grow towards the hem.
    """
    rings = max(6, int((top - hem) / RING))
    height = np.linspace(top, hem, rings)
    t = np.linspace(0, 1, rings)[:, None]
    centre, hull = radial_hull(cloud, height)
    centre = _smooth_rings(np.repeat(centre, 2, 1), 4)[:, [0, 2]] if rings > 4 else centre
    narrow = flare < NARROW
    ease = rng.uniform(0.002, 0.012) if narrow else rng.uniform(0.006, 0.02)
    # how much of a ring's width the next lower one keeps
    cling = rng.uniform(0.55 if narrow else 0.9, 1.0) ** (RING / 0.1)
    radius = hull + ease
    for j in range(1, rings):
        radius[j] = np.maximum(radius[j], radius[j - 1] * cling)
    radius = np.maximum(_smooth_rings(radius, 3), hull + 0.004)
    angle = 2 * np.pi * np.arange(SIDES) / SIDES
    length = top - hem
    radius = np.maximum(radius + flare * length * t ** rng.uniform(0.8, 1.6), hull + 0.002)
    count, depth = int(rng.integers(4, 15)), np.clip(flare, 0, 0.35) * length * rng.uniform(0, 0.22)
    if rng.random() < 0.2:  # pleats
        count, depth = int(rng.integers(16, 30)), rng.uniform(0.003, 0.009)
    phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5) * t
    radius = radius + depth * t * (1 + np.cos(count * angle + phase + 0.7 * np.sin(2 * angle + phase)))
    opening = np.zeros(rings)
    if open_front:
        opening = np.linspace(rng.uniform(0.02, 0.35), rng.uniform(0.1, 0.75), rings)
    return Loft(height, centre, radius, opening)


def around(cloud: np.ndarray, height: np.ndarray, ease: np.ndarray, centre: np.ndarray | None = None) -> Loft:
    """A sleeve around points f64[N,3] at heights [R] (highest first) that stands off by ease [R]
    metres: collars, boots."""
    c, hull = radial_hull(cloud, height, centre)
    return Loft(height, c, _smooth_rings(hull, 2) + np.asarray(ease)[:, None], np.zeros(len(height)))


def tube(line: np.ndarray, radius: np.ndarray, sides: int = 14) -> dict[str, np.ndarray]:
    """A tube along points f64[R,3] with radii [R]: v, f, ft, vt as Loft.mesh."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    side = np.cross(tangent, [1.0, 0.0, 0.05])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    other = np.cross(tangent, side)
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    v = line[:, None] + radius[:, None, None] * ring
    rings = len(line)
    flat = Loft(
        np.arange(rings, 0, -1.0), np.zeros((rings, 2)), np.ones((rings, sides)), np.zeros(rings)
    ).mesh(2.0)
    f, ft = flat["f"], flat["ft"]
    middle = v.reshape(-1, 3)[f].mean(1)
    a, b, c = (v.reshape(-1, 3)[f[:, k]] for k in range(3))
    axis = line[np.minimum(f[:, 0] // sides, rings - 1)]
    if np.median(np.einsum("fc,fc->f", np.cross(b - a, c - a), middle - axis)) < 0:
        f, ft = f[:, [0, 2, 1]], ft[:, [0, 2, 1]]
    return dict(v=v.reshape(-1, 3), f=f, ft=ft, vt=flat["vt"])


def bun(rng: np.random.Generator, back: np.ndarray) -> dict[str, np.ndarray]:
    """Hair tied to a knot at the point `back` f64[3] of the head."""
    r = rng.uniform(0.022, 0.05)
    t = np.linspace(-1, 1, 10)
    axis = np.array([0, rng.uniform(-0.3, 0.9), -1.0])
    axis /= np.linalg.norm(axis)
    line = back + axis * (0.55 * r + r * rng.uniform(0.6, 1.0) * t[:, None])
    return tube(line, r * np.sqrt(np.maximum(1 - t**2, 0.0)) + 1e-4)


def tail(rng: np.random.Generator, back: np.ndarray, behind) -> dict[str, np.ndarray]:
    """A tail of hair that hangs from `back` f64[3]; behind(y [n]) gives the z [n] of the person's back
    at heights."""
    length, out = rng.uniform(0.14, 0.55), rng.uniform(0.02, 0.06)
    t = np.linspace(0, 1, 22)
    y = back[1] + 0.02 * np.sin(np.pi * np.minimum(3 * t, 1)) - length * np.maximum(t - 0.1, 0)
    thick = rng.uniform(0.016, 0.034) * np.interp(t, [0, 0.08, 0.35, 0.8, 1], [0.5, 0.7, 1, 0.8, 0.1])
    z = back[2] - out * np.sin(np.pi / 2 * np.minimum(4 * t, 1)) + 0.3 * out * t
    z = np.minimum(z, behind(y) - 0.7 * thick)
    x = np.full_like(t, back[0]) + rng.normal(0, 0.02) * t**2
    return tube(np.stack([x, y, z], 1), thick)
