"""Avatar: a bundle in memory. `load_avatar` and `write_avatar` are the only code that knows the layout of a
bundle."""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy

from dinar_live.runtime.core.errors import BundleError
from dinar_live.runtime.core.short_repr import short_repr

from .files import MAX_MANIFEST_BYTES, BundleFiles, png, replaced_whole, tensors
from .renderer_spec import ARRAYS, FILES, FORMS, HALF, NETWORK, RendererSpec
from .rig import Rig, check_array

SCHEMA = 1
RENDERER_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAX_CHECKS = 64
MAX_CHECK_PIXELS = 1 << 22


@dataclass(frozen=True, eq=False)
class Checks:
    """A few frames with the reference picture each renderer must reproduce.
    body f32[n,55,3], transl f32[n,3], expression f32[n,E], K f32[n,3,3], world_to_camera f32[n,4,4]; rgba:
    renderer -> u8[n,H,W,4] premultiplied."""

    body: np.ndarray
    transl: np.ndarray
    expression: np.ndarray
    K: np.ndarray
    world_to_camera: np.ndarray
    rgba: dict[str, np.ndarray]

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Avatar:
    """A person to animate: rig, renderers by name (the first is the default), checks, licence note."""

    name: str
    rig: Rig
    renderers: dict[str, RendererSpec]
    body_kind: str = "open"
    licence: str = ""
    checks: Checks | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Avatar({self.name!r}, {self.body_kind} body, renderers {', '.join(self.renderers)}, {self.rig!r})"

    @classmethod
    def load(cls, path) -> Avatar:
        """Read a bundle folder or .zip, checking schema, hashes, shapes, finiteness and caps. Raises
        BundleError naming file and field."""
        return load_avatar(path)

    @classmethod
    def demo(cls) -> Avatar:
        """The avatar that ships with the package: made from two pictures of a person who does not exist
        (CC0)."""
        return load_avatar(pathlib.Path(__file__).parents[1] / "assets" / "demo_avatar")

    def save(self, path, overwrite: bool = False) -> None:
        """Write the bundle to a folder or .zip: whole, or not at all."""
        write_avatar(self, path, overwrite)


def _field(where: str, manifest: dict, key: str, kind, default=None):
    value = manifest.get(key, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = kind.__name__ if isinstance(kind, type) else str(kind)
        raise BundleError(f"{where}: field {key!r} is {str(value)[:80]!r}, expected {names}")
    return value


def load_avatar(path) -> Avatar:
    """See Avatar.load."""
    with BundleFiles(path) as files:
        where = f"{files.path}: avatar.json"
        try:
            manifest = json.loads(files.read("avatar.json", MAX_MANIFEST_BYTES))
        except (ValueError, RecursionError) as e:
            raise BundleError(f"{where}: not valid JSON ({e})") from e
        if not isinstance(manifest, dict):
            raise BundleError(f"{where}: got a {type(manifest).__name__}, expected an object")
        if manifest.get("schema") != SCHEMA:
            raise BundleError(
                f"{where}: schema is {str(manifest.get('schema'))[:40]!r}, this version reads {SCHEMA}; export the avatar again"
            )
        hashes = _field(where, manifest, "sha256", dict)
        names = _field(where, manifest, "expression_names", list, [])
        if not all(isinstance(n, str) and len(n) <= 64 for n in names):
            raise BundleError(
                f"{where}: expression_names holds something that is not a name of at most 64 characters"
            )

        def content(name: str) -> bytes:
            if not isinstance(hashes.get(name), str):
                raise BundleError(f"{where}: sha256 has no entry for {name}")
            return files.checked(name, hashes[name])

        rig = Rig.from_arrays(tensors("rig.safetensors", content("rig.safetensors")), tuple(names))
        renderers = {}
        for name, spec in _field(where, manifest, "renderers", dict).items():
            if not RENDERER_NAME.fullmatch(name) or not isinstance(spec, dict):
                raise BundleError(f"{where}: renderer {name[:40]!r} is not an object with a lower-case name")
            form = _field(f"{where}: renderer {name!r}", spec, "form", int, NETWORK.form)
            if form not in FORMS:
                raise BundleError(
                    f"{where}: renderer {name!r}: form is {form}, this version reads {', '.join(map(str, FORMS))}; use a newer version"
                )
            arrays = tensors(
                f"renderers/{name}/texture.safetensors", content(f"renderers/{name}/texture.safetensors")
            )
            if set(arrays) != (expected := set(ARRAYS if form == HALF.form else ARRAYS[:1])):
                raise BundleError(
                    f"renderers/{name}/texture.safetensors: got arrays {sorted(arrays)}, expected {sorted(expected)} for form {form}"
                )
            own_files = {
                field: content(f"renderers/{name}/{file}")
                for file, field in FILES.items()
                if f"renderers/{name}/{file}" in hashes
            }
            options = {
                k: spec[k] for k in ("hardsegm", "threshold", "samples", "margin", "stride") if k in spec
            }
            try:
                renderers[name] = RendererSpec(**arrays, **own_files, **options)
            except BundleError as e:
                raise BundleError(f"{where}: renderer {name!r}: {e}") from None
        if not renderers:
            raise BundleError(f"{where}: has no renderers, expected at least one of dinar, light, texture")
        checks = _read_checks(content, rig, renderers) if "check/poses.safetensors" in hashes else None
        return Avatar(
            name=_field(where, manifest, "name", str),
            rig=rig,
            renderers=renderers,
            body_kind=_field(where, manifest, "body_kind", str),
            licence=_field(where, manifest, "licence", str, ""),
            checks=checks,
            provenance=_field(where, manifest, "provenance", dict, {}),
        )


def _read_checks(content, rig: Rig, renderers) -> Checks:
    import cv2

    a = tensors("check/poses.safetensors", content("check/poses.safetensors"))
    shapes = {
        "body": ("n", 55, 3),
        "transl": ("n", 3),
        "expression": ("n", rig.expressions),
        "K": ("n", 3, 3),
        "world_to_camera": ("n", 4, 4),
    }
    if set(a) != set(shapes):
        raise BundleError(f"check/poses.safetensors: got arrays {sorted(a)}, expected {sorted(shapes)}")
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        check_array(f"check: {name}", a[name], "float32", shape, symbols, {"n": MAX_CHECKS})
    rgba = {}
    for renderer in renderers:
        images = []
        for i in range(symbols["n"]):
            data = content(f"check/{renderer}_{i}.png")
            image = (
                cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
                if _png_pixels(data) <= MAX_CHECK_PIXELS
                else None
            )
            if (
                image is None
                or image.ndim != 3
                or image.shape[2] != 4
                or image.dtype != np.uint8
                or image[..., 0].size > MAX_CHECK_PIXELS
            ):
                raise BundleError(
                    f"check/{renderer}_{i}.png: not an 8-bit RGBA picture of at most {MAX_CHECK_PIXELS} pixels"
                )
            images.append(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
        if len({i.shape for i in images}) > 1:
            raise BundleError(
                f"check: the pictures of {renderer} differ in size: {sorted({i.shape for i in images})}"
            )
        rgba[renderer] = np.stack(images) if images else np.zeros((0, 1, 1, 4), np.uint8)
    return Checks(rgba=rgba, **a)


def _png_pixels(data: bytes) -> float:
    """How many pixels a PNG says it has, before any is unpacked; infinite for anything else."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return math.inf
    return int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")


def write_avatar(avatar: Avatar, path, overwrite: bool = False) -> None:
    """See Avatar.save."""
    hashes: dict[str, str] = {}
    with replaced_whole(path, overwrite) as folder:

        def put(name: str, content: bytes) -> None:
            hashes[name] = hashlib.sha256(content).hexdigest()
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

        put("rig.safetensors", safetensors.numpy.save(avatar.rig.arrays()))
        specs = {}
        for name, r in avatar.renderers.items():
            if not RENDERER_NAME.fullmatch(name):
                raise BundleError(f"renderer name {name!r}: expected lower-case letters, digits and '_'")
            put(
                f"renderers/{name}/texture.safetensors",
                safetensors.numpy.save(r.arrays()),
            )
            for file, file_content in r.files().items():
                put(f"renderers/{name}/{file}", file_content)
            specs[name] = {
                "hardsegm": r.hardsegm,
                "threshold": r.threshold,
                "samples": r.samples,
                "margin": r.margin,
                "stride": r.stride,
                # left out for the first form, so that bundles of it are what they were
                **({"form": r.type.form} if r.type.form != NETWORK.form else {}),
            }
        if (c := avatar.checks) is not None:
            poses = {k: getattr(c, k) for k in ("body", "transl", "expression", "K", "world_to_camera")}
            put(
                "check/poses.safetensors",
                safetensors.numpy.save({k: np.ascontiguousarray(v, np.float32) for k, v in poses.items()}),
            )
            for name, images in c.rgba.items():
                for i, image in enumerate(images):
                    put(f"check/{name}_{i}.png", png(image))
        manifest = {
            "schema": SCHEMA,
            "name": avatar.name,
            "body_kind": avatar.body_kind,
            "licence": avatar.licence,
            "renderers": specs,
            "expression_names": list(avatar.rig.expression_names),
            "provenance": avatar.provenance,
            "sha256": hashes,
        }
        (folder / "avatar.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        load_avatar(folder)  # what was written must be readable; otherwise nothing is left behind
