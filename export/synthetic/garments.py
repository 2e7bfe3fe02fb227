"""What makes one outfit into many: ease, hems and sleeves cut, skirts, dresses, coats, collars, boots,
knots of hair."""

from __future__ import annotations

import numpy as np

from dinar_live.export.completion.nearest import tree_of
from dinar_live.export.completion.surface import LEGS, hanging_weights
from dinar_live.export.texture_space import vertex_normals
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J

from . import lofts
from .person import Person

ARMS = [
    i
    for n, i in J.items()
    if any(k in n for k in ("shoulder", "elbow", "wrist", "index", "middle", "pinky", "ring", "thumb"))
]
HEAD = [J["head"], J["neck"]]
UNDER = 0.05  # metres above a hem up to which what is below the cloth can be seen


def _away(person: Person, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For points f64[N,3]: the body's smoothed normals f64[N,3] there and the body's nearest places
    f64[N,3]."""
    x, faces = person.rig.model.vertices.astype(float), person.rig.faces
    normal = vertex_normals(person.rig.model.vertices, faces).astype(float)
    for _ in range(4):
        total = np.zeros_like(normal)
        for k in range(3):
            np.add.at(total, faces[:, k], normal[faces[:, (k + 1) % 3]] + normal[faces[:, (k + 2) % 3]])
        normal = normal + total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    distance, near = tree_of(x).query(points, k=4)
    weight = 1 / (distance + 0.01)
    weight /= weight.sum(1, keepdims=True)
    n = np.einsum("nk,nkc->nc", weight, normal[near])
    return n / (np.linalg.norm(n, axis=1, keepdims=True) + 1e-9), np.einsum("nk,nkc->nc", weight, x[near])


def loosen(person: Person, rng: np.random.Generator) -> None:
    """Clothes and hair moved off the body: wider cloth, more so down arms and legs; more, less, longer
    or shorter hair."""
    joints = person.joints
    hip, ankle = joints[J["left_hip"]][1], joints[J["left_ankle"]][1]
    shoulder, wrist = joints[J["left_shoulder"]][0], joints[J["left_wrist"]][0]
    for part in person.parts:
        v, role = part["v"], part["role"]
        if role not in ("suit", "shoes", "hair"):
            continue
        normal, foot = _away(person, v)
        off = v - foot
        if role == "hair":
            free = np.clip(np.linalg.norm(off, axis=1) / 0.02, 0, 1)[:, None]
            volume = float(np.exp(rng.normal(0, 0.3)))
            v = foot + off * (1 + (volume - 1) * free) + max(0.0, rng.normal(0.003, 0.01)) * normal * free
            chin = joints[J["head"]][1] + 0.02
            longer = float(np.exp(rng.normal(0, 0.35)))
            v[:, 1] = np.where(v[:, 1] < chin, chin + (v[:, 1] - chin) * longer, v[:, 1])
        elif role == "shoes":
            v = _other_shoe(v + normal * max(0.0, rng.normal(0, 0.004)), joints, rng)
        else:
            along_leg = np.clip((hip - 0.05 - v[:, 1]) / (hip - ankle), 0, 1)
            along_arm = np.clip((np.abs(v[:, 0]) - shoulder) / (wrist - shoulder), 0, 1)
            torso = np.clip(1 - np.abs(v[:, 1] - joints[J["spine1"]][1]) / 0.28, 0, 1) * (along_arm == 0)
            ease = max(0.0, rng.normal(0.006, 0.012))
            leg, arm, belly = (max(0.0, rng.normal(0, s)) for s in (0.03, 0.022, 0.015))
            wave = 1 + 0.25 * np.sin(rng.uniform(0, 6) + v @ rng.normal(0, 15, 3))
            move = (ease + leg * along_leg ** rng.uniform(0.6, 2) + arm * along_arm + belly * torso) * wave
            wider = rng.uniform(0.9, 1.5)
            thick = np.einsum("nc,nc->n", off, normal).clip(0, 0.06)
            v = v + ((wider - 1) * thick + move)[:, None] * normal
        part["v"] = v


def _other_shoe(v: np.ndarray, joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shoes f64[N,3] with a longer or shorter toe, wider or narrower, on a thicker sole or a heel."""
    sole = rng.uniform(0.005, 0.035) if rng.random() < 0.4 else 0.0
    heel = rng.uniform(0.01, 0.05) if rng.random() < 0.2 else 0.0
    toe, wide, high = rng.normal(1.03, 0.07), rng.normal(1.0, 0.06), rng.normal(1.0, 0.06)
    for side, sign in (("left", 1), ("right", -1)):
        ankle, mine = joints[J[f"{side}_ankle"]], sign * v[:, 0] > 0
        if not mine.any():
            continue
        d = v[mine] - ankle
        low = np.clip(-d[:, 1] / max(1e-3, -d[:, 1].min()), 0, 1)  # 0 at the ankle, 1 under the sole
        d[:, 2] *= np.where(d[:, 2] > 0, 1 + (toe - 1) * low, 1)
        d[:, 0] *= 1 + (wide - 1) * low
        d[:, 1] *= np.where(d[:, 1] > 0, 1, 1 + (high - 1) * low)
        d[:, 1] -= (sole + heel * (d[:, 2] < 0.02)) * low**4
        v[mine] = ankle + d
    return v


def _keep_faces(part: dict, keep: np.ndarray) -> None:
    for k in ("f", "ft", "bias"):
        part[k] = part[k][keep]


def cut(person: Person, rng: np.random.Generator) -> None:
    """Some suits get shorter sleeves or legs; what is bared is kept in part["bare"] as a test of places
    and weights."""
    suit, joints = person.part("suit"), person.joints
    arm = lambda v, w: w[:, ARMS].sum(1) > 0.5  # noqa: E731
    leg = lambda v, w: w[:, LEGS].sum(1) > 0.5  # noqa: E731
    bare = []
    if rng.random() < 0.35:
        ends = [abs(joints[J[f"left_{n}"]][0]) for n in ("shoulder", "wrist")]
        limit = float(np.interp(rng.beta(1.2, 1.2), [0, 1], [ends[0] + 0.03, ends[1] - 0.05]))
        bare.append(lambda v, w, slack: arm(v, w) & (np.abs(v[:, 0]) > limit - slack))
    if rng.random() < 0.2:
        ends = [joints[J[f"left_{n}"]][1] for n in ("hip", "ankle")]
        level = float(np.interp(rng.beta(1.2, 1.2), [0, 1], [ends[0] - 0.12, ends[1] + 0.06]))
        bare.append(lambda v, w, slack: leg(v, w) & (v[:, 1] < level + slack))
    suit["bare"] = bare
    for test in bare:
        gone = test(suit["v"], suit["W"], 0.0)
        _keep_faces(suit, ~gone[suit["f"]].any(1))


def _cloud(person: Person, roles=("suit", "skin"), without=()) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and edge middles of parts, f64[N,3], with their weights f64[N,55], but not those of the
    joints `without`."""
    points, weights = [], []
    for p in person.parts:
        if p["role"] in roles:
            f = p["f"]
            points += [p["v"][f[:, 0]], 0.5 * (p["v"][f[:, 0]] + p["v"][f[:, 1]])]
            weights += [p["W"][f[:, 0]]] * 2
    points, weights = np.concatenate(points), np.concatenate(weights)
    keep = weights[:, list(without)].sum(1) < 0.3 if len(without) else np.ones(len(points), bool)
    return points[keep], weights[keep]


def _near_weights(points: np.ndarray, cloud: np.ndarray, weights: np.ndarray, k: int = 24) -> np.ndarray:
    distance, near = tree_of(cloud).query(points, k=k)
    share = 1 / (distance + 0.02)
    return np.einsum("nk,nkj->nj", share / share.sum(1, keepdims=True), weights[near])


def _add(
    person: Person,
    mesh: dict,
    weights: np.ndarray,
    role: str,
    *,
    bias: float,
    like_suit: float = 0.0,
    style: int = 0,
) -> dict:
    n = len(mesh["v"])
    grey = np.full((8, 8, 4), 128, np.uint8)
    grey[..., 3] = 255
    part = dict(
        mesh, W=weights, E=np.zeros((n, 3, 62), np.float32), tex=grey,
        mode=0, floor=0.0,
        kind="hair" if role in ("bun", "tail") else "clothes", role=role,
        bias=np.full(len(mesh["f"]), bias),
        like_suit=like_suit, style=style,
    )  # fmt: skip
    person.parts.insert(len(person.parts) - 1, part)
    return part


def drape(person: Person, rng: np.random.Generator) -> None:
    """Some people wear a skirt, a dress or a coat: cloth hanging over both legs."""
    kind = rng.choice(["none", "skirt", "dress", "coat"], p=[0.36, 0.4, 0.1, 0.14])
    if kind == "none":
        return
    joints, suit, skin = person.joints, person.part("suit"), person.part("skin")
    crotch = joints[J["left_hip"]][1] - 0.1
    ankle, knee = joints[J["left_ankle"]][1], joints[J["left_knee"]][1]
    waist = joints[J["spine1"]][1] + rng.uniform(-0.04, 0.06)
    top = waist if kind == "skirt" else joints[J["spine3"]][1] + rng.uniform(-0.06, 0.02)
    lowest = ankle + 0.07 if kind != "coat" else knee - 0.25
    hem = float(np.interp(rng.beta(1.3, 1.0), [0, 1], [crotch - 0.03, lowest]))
    flare = min(abs(rng.normal(0, 0.2 if kind != "coat" else 0.08)), 0.5)
    if kind == "skirt" and rng.random() < 0.65:
        flare = rng.uniform(-0.04, lofts.NARROW)
    trousers = rng.random() < (0.2 if kind != "coat" else 0.85)
    open_front = kind == "coat" and rng.random() < 0.45
    # a shirt may hang over the skirt
    over = kind == "skirt" and not trousers and rng.random() < 0.55
    end = waist - (rng.uniform(0.03, 0.17) if over else 0.05)
    if not trousers:  # bare legs: the suit ends near the waist

        def under(v, w, slack):
            return (v[:, 1] < end + slack) & (w[:, ARMS].sum(1) < 0.5)

        _keep_faces(suit, ~under(suit["v"], suit["W"], 0.0)[suit["f"]].any(1))
        suit["bare"] = [*suit.get("bare", []), under]
    cloud, weights = _cloud(person, ("skin",) if over else ("suit", "skin"), without=ARMS)
    loft = lofts.hanging(rng, cloud, top, hem, flare=flare, open_front=open_front)
    mesh = loft.mesh(repeats=float(rng.choice([2.0, 3.0, 4.0])))
    w = hanging_weights(joints, mesh["v"], _near_weights(mesh["v"], cloud, weights))
    _add(person, mesh, w, "drape", bias=0.012, like_suit=0.25 if kind == "skirt" else 0.75)
    if over:
        _over(suit, loft, end, waist)
    if not open_front:  # what nobody sees must not poke through

        def hidden(v, w):
            return (v[:, 1] > hem + UNDER) & (v[:, 1] < waist - 0.06) & (w[:, ARMS].sum(1) < 0.3)

        if not over:
            _keep_faces(suit, ~hidden(suit["v"], suit["W"])[suit["f"]].all(1))
        skin["hidden"] = [hidden]
    person.drapes.append(loft)


def _over(suit: dict, loft: lofts.Loft, end: float, waist: float) -> None:
    """The shirt from its `end` to above the waist is pushed outside of the skirt, and drawn in front."""
    v = suit["v"].copy()
    torso = suit["W"][:, ARMS].sum(1) < 0.3
    near = np.flatnonzero((v[:, 1] < waist + 0.05) & (v[:, 1] > end - 0.08) & torso)
    if not len(near):
        return
    height = np.clip(v[near, 1], loft.height[-1], loft.height[0])
    centre = np.stack([np.interp(-height, -loft.height, loft.centre[:, c]) for c in (0, 1)], 1)
    out = v[near][:, [0, 2]] - centre
    point, _ = loft.surface(height, np.arctan2(out[:, 1], out[:, 0]))
    least = np.linalg.norm(point[:, [0, 2]] - centre, axis=1) + 0.008
    radius = np.linalg.norm(out, axis=1) + 1e-9
    fade = np.clip((waist + 0.05 - v[near, 1]) / 0.05, 0, 1)
    grown = centre + out * (1 + fade * (np.maximum(least / radius, 1) - 1))[:, None]
    v[near, 0], v[near, 2] = grown[:, 0], grown[:, 1]
    suit["v"] = v
    low = (v[suit["f"]].mean(1)[:, 1] < waist) & torso[suit["f"][:, 0]]
    suit["bias"] = np.where(low, 0.02, suit["bias"])


def add_pieces(person: Person, rng: np.random.Generator) -> None:
    """Collars and scarves, boots' shafts, knots and tails of hair."""
    joints = person.joints
    if rng.random() < 0.22:
        cloud, weights = _cloud(person)
        neck = weights[:, HEAD].sum(1) > 0.25
        low = joints[J["neck"]][1] - rng.uniform(0.0, 0.03)
        height = np.linspace(low + rng.uniform(0.03, 0.08), low, 6)
        t = np.linspace(1, 0, 6)
        scarf = rng.random() < 0.3
        ease = 0.008 + (0.03 * np.sin(np.pi * (0.15 + 0.7 * t)) if scarf else rng.uniform(0, 0.025) * t)
        ring = cloud[neck | (np.abs(cloud[:, 0]) < 0.07)]
        ring = ring[np.abs(ring[:, 1] - low) < 0.15]
        mesh = lofts.around(ring, height, ease).mesh()
        _add(person, mesh, _near_weights(mesh["v"], cloud, weights), "piece", bias=0.004, like_suit=0.5)
    if rng.random() < 0.15:
        top = float(
            np.interp(
                rng.random(),
                [0, 1],
                [joints[J["left_ankle"]][1] + 0.08, joints[J["left_knee"]][1] + 0.02],
            )
        )
        ease, like = rng.uniform(0.006, 0.02), rng.random() * 0.2
        for side, sign in (("left", 1), ("right", -1)):
            cloud, weights = _cloud(person, ("suit", "skin", "shoes"))
            leg = sign * cloud[:, 0] > 0.02
            cloud, weights = cloud[leg], weights[leg]
            low = joints[J[f"{side}_ankle"]][1] - 0.02
            height = np.linspace(top, low, max(5, int((top - low) / 0.025)))
            line = [joints[J[f"{side}_{n}"]] for n in ("ankle", "knee")]
            centre = np.stack(
                [np.interp(height, [line[0][1], line[1][1]], [line[0][c], line[1][c]]) for c in (0, 2)],
                1,
            )
            mesh = lofts.around(cloud, height, np.full(len(height), ease), centre).mesh()
            _add(
                person,
                mesh,
                _near_weights(mesh["v"], cloud, weights),
                "piece",
                bias=0.006,
                like_suit=like,
                style=1,
            )
    if rng.random() < 0.32:
        _knot(person, rng)


def _knot(person: Person, rng: np.random.Generator) -> None:
    """A bun or a tail at the back of the head."""
    cloud, _ = _cloud(person, ("hair", "skin"))
    head = person.joints[J["head"]]
    level = head[1] + rng.uniform(0.02, 0.13)
    near = cloud[(np.abs(cloud[:, 1] - level) < 0.02) & (np.abs(cloud[:, 0]) < 0.03)]
    if not len(near):
        return
    back = np.array([0.0, level, np.percentile(near[:, 2], 3) + 0.008])
    body, _ = _cloud(person, ("suit", "skin", "hair"))
    body = body[np.abs(body[:, 0]) < 0.06]

    def behind(y):
        return np.array([np.min(body[np.abs(body[:, 1] - h) < 0.03, 2], initial=back[2] + 0.06) for h in y])

    role = "bun" if rng.random() < 0.4 else "tail"
    mesh = lofts.bun(rng, back) if role == "bun" else lofts.tail(rng, back, behind)
    weights = np.zeros((len(mesh["v"]), 55))
    low = np.clip((level - 0.06 - mesh["v"][:, 1]) / 0.4, 0, 1) * (role == "tail")
    weights[:, J["head"]], weights[:, J["neck"]], weights[:, J["spine3"]] = (
        1 - 0.6 * low,
        0.2 * low,
        0.4 * low,
    )
    _add(person, mesh, weights, role, bias=0.003)


def hide_skin(person: Person) -> None:
    """Leave out the skin that clothes cover, where they still do."""
    skin = person.part("skin")
    n = len(skin["v"])
    gone = np.zeros(n, bool)
    for p in person.parts:
        if hide := p.get("hide"):
            covered = np.zeros(n, bool)
            covered[[i for i in hide if i < n]] = True
            for test in p.get("bare", []):
                covered &= ~test(skin["v"], skin["W"], 0.012)
            gone |= covered
    for hidden in skin.get("hidden", []):
        gone |= hidden(skin["v"], skin["W"])
    _keep_faces(skin, np.asarray(~gone[skin["f"]].any(1)))
