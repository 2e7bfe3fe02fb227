"""Synthetic people: drawn, built in the T-pose, and varied in what they wear and how their hair
falls."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J

from . import garments, textures
from .assets import EYES, Assets
from .person import Person

ROLES = ("suit", "shoes", "hair", "brow", "lash", "eye", "teeth", "teeth", "skin")
BAKE_DIRECTIONS, BAKE_SIDE = 40, 320  # of the soft sky's light
EXPRESSIONS = 62


def draw(rng: np.random.Generator, assets: Assets) -> dict:
    """A random person as the builder takes it: shape, skin, clothes, hair."""
    female = rng.random() < 0.5
    pick = lambda names: str(rng.choice(list(names)))  # noqa: E731
    sex = "female" if female else "male"
    suits = [s for s in assets.suits if s.startswith(sex) or rng.random() < 0.15] or list(assets.suits)
    skins = [s for s in assets.skins if ("female" in s) == female] or list(assets.skins)
    shape = dict(
        gender=float(rng.uniform(0.75, 1) if female else rng.uniform(0, 0.25)),
        age=float(rng.uniform(0.62, 0.9)),
        muscle=float(rng.uniform(0.25, 0.8)),
        weight=float(rng.uniform(0.3, 0.8)),
        height=float(rng.uniform(0.2, 0.65)),
        proportions=float(rng.uniform(0.4, 0.85)),
        cupsize=float(rng.uniform(0.25, 0.7)),
        firmness=float(rng.uniform(0.4, 0.8)),
        race=tuple(map(float, rng.dirichlet([0.7] * 3))),
    )
    return dict(
        shape=shape,
        skin=pick(skins),
        clothes=[f"clothes/{pick(suits)}", f"clothes/{pick(assets.shoes)}"],
        hair=f"hair/{pick(assets.hair)}",
        hair_flat=0.5,
        hair_tint=None,
        brow=f"eyebrows/{pick(assets.brows)}",
        lash=f"eyelashes/{pick(assets.lashes)}",
        eye=pick(EYES),
        face_seed=int(rng.integers(1_000_000)),
        skirt=False,
    )


def build(config: dict, assets: Assets, body: Body) -> Person:
    """The person of a config, without light yet. About 2.5 s on one core."""
    flat = assets.builder.build(config)
    parts = flat["parts"]
    for part, role in zip(parts, ROLES, strict=True):
        part["role"] = role
    for part, name in zip(parts, config["clothes"], strict=False):
        part["name"] = name
        files = sorted((assets.builder.ASSETS / name).glob("*.mhclo"))
        part["hide"] = assets.builder.read_mhclo(files[0])["hide"]
    base = assets.builder._base()[0]
    skin = parts[-1]
    skin["f"], skin["ft"] = assets.builder.mk.triangles(base.groups["body"])
    skin["bias"] = np.zeros(len(skin["f"]))
    skin["gender"] = config["shape"]["gender"]
    return Person(parts, flat, body.rig(flat["betas"]))


def vary(person: Person, rng: np.random.Generator, assets: Assets, plain: bool = False) -> Person:
    """Another outfit of a built person: looser clothes, other sleeves and hems, skirts, coats, collars,
    hair; with light.

    plain: as the assets are. Textures are those of the assets; restyle() changes them.
    """
    parts = [dict(p) for p in person.parts]
    varied = Person(parts, person.flat, person.rig)
    if not plain:
        garments.loosen(varied, rng)
        garments.cut(varied, rng)
        garments.drape(varied, rng)
        garments.add_pieces(varied, rng)
    garments.hide_skin(varied)
    flat = dict(person.flat, **assets.builder._whole_flatten(parts))
    shade = assets.builder._whole_bake(flat, parts, n_dir=BAKE_DIRECTIONS, res=BAKE_SIDE)
    flat["shade"] = _one_sided(varied, flat, shade, rng)
    varied.flat = flat
    return varied


def _one_sided(person: Person, flat: dict, shade: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Baked light f32[N] with some of a lamp from one side added: by normals in the T-pose."""
    toward = rng.normal(0, 1, 3) * (1, 0.6, 1)
    toward *= abs(rng.normal(0, 0.14)) / np.linalg.norm(toward)
    v, f = flat["v"], flat["F"]
    normal = np.zeros_like(v)
    face = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
    for k in range(3):
        np.add.at(normal, f[:, k], face)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    gain = np.clip(1 + normal @ toward, 0.5, 1.6)
    return (shade * gain * rng.uniform(0.85, 1.1)).astype(np.float32)


def restyle(person: Person, rng: np.random.Generator, assets: Assets) -> None:
    """New colours and prints on a varied person, in place; geometry and light stay."""
    out, tint = [], textures.hair_tint(rng)
    done: dict[str, np.ndarray] = {}  # by role
    worn = {}  # a pair of boots shares a style
    for p in person.parts:
        t, role = p["tex"], p["role"]
        if role in ("suit", "shoes"):
            t = textures.recolour(p["name"], t, rng)
        elif role == "hair":
            t = textures.tinted(t, tint)
        elif role in ("drape", "piece"):
            if not p["style"] or p["style"] not in worn:
                like_suit = rng.random() < p["like_suit"]
                colour = _torso_colour(done["suit"], person) if like_suit else None
                worn[p["style"]] = textures.fabric(rng, colour=colour)
            t = worn[p["style"]]
        elif role in ("bun", "tail"):
            hair = done["hair"]
            t = textures.strands(rng, hair[hair[..., 3] > 128][:, :3].mean(0))
        elif role == "skin":
            names = [s for s in assets.skins if ("female" in s) == (p["gender"] > 0.5)] or list(assets.skins)
            file = assets.builder.find_image(
                assets.folder / "assets/skins/textures", f"{rng.choice(names)}.*"
            )
            t = textures.tinted(assets.builder.load_texture(file), textures.skin_tint(rng))
        out.append(t)
        done[role] = t
    size = np.array([t.shape[:2] for t in out])
    person.flat.update(
        tex=np.concatenate([t.reshape(-1, 4) for t in out]),
        toff=np.r_[0, np.cumsum(size.prod(1))[:-1]].astype(np.int64),
        th=size[:, 0].astype(np.int64),
        tw=size[:, 1].astype(np.int64),
    )


def _torso_colour(texture: np.ndarray, person: Person) -> np.ndarray:
    """Mean colour of the suit with this texture on the chest and belly, 8-bit CIELAB f64[3]."""
    import cv2

    suit = person.part("suit")
    chest, belly = person.joints[J["spine3"]][1], person.joints[J["pelvis"]][1]
    height = suit["v"][suit["f"]].mean(1)[:, 1]
    uv = suit["vt"][suit["ft"][(height < chest) & (height > belly)]].reshape(-1, 2)
    if not len(uv):
        return textures.cloth_colour(np.random.default_rng(0))
    h, w = texture.shape[:2]
    row = np.clip(((1 - uv[:, 1] % 1) * h).astype(int), 0, h - 1)
    column = np.clip((uv[:, 0] % 1 * w).astype(int), 0, w - 1)
    median = np.median(texture[row, column, :3], 0).astype(np.uint8).reshape(1, 1, 3)
    return cv2.cvtColor(median, cv2.COLOR_RGB2LAB).reshape(3).astype(float)
