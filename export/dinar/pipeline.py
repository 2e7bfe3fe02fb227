"""One photo (or a few) to an avatar with the DINAR networks: the order of the published inference (paper Fig.
2, sections 3.1 to 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from dinar_live.export.checkpoint import load_checkpoint
from dinar_live.export.checks import make_checks
from dinar_live.export.networks.model import DinarModel, required
from dinar_live.export.work import Work
from dinar_live.runtime.avatar import Avatar, Body, RendererSpec, Rig
from dinar_live.runtime.core.errors import InputError

from .assets import Assets, derive_assets, load_assets
from .backends import check_backend
from .bake import MARGIN, bake_texture, parity, renderer_onnx
from .blend import poisson_blend, pyramid_blend
from .copy_known import copy_input_part, copy_mask
from .crop import SIZE, Sample, crop, make_sample
from .ddim import Draws, condition
from .ddim import sample as inpaint
from .fits import Fit
from .masks import CLOSED, RGB, assemble_texture, texture_mask
from .merge import merge_textures, view_weights
from .normals import normal_map
from .occlusion import erode_occlusions
from .rasterize_uv import rasterize_uv
from .sampling import Duplicates, quantise_rgb, sample_values_by_uv
from .tuning import TuningInputs, TuningOptions, tune, tuned_texture

TEXTURE = 256
THRESHOLD = 0.5  # tau of the published videos
STRIDE = 8
BLENDS = ("none", "pyramid", "poisson")
PRECISIONS = ("f32", "bf16", "f16")
MAX_PARITY_ERROR = 2 / 255


@dataclass(frozen=True)
class Settings:
    """steps, eta: of DDIM. tune_steps: of RGB tuning (0 = none); finetune_back: as many more for Eq. 7 first.
    seed: of all noise.
    occlusion: leave out limb outlines (3.5). sampling: "last" (published) or "sum" (Algorithm 1). wrap_white:
    pure white becomes black, as published.
    blend: how views, or the known part, meet. precision: of the diffusion U-Net and of tuning. device: cpu,
        cuda, or auto.
    backend: of the U-Net, see backends.py."""

    steps: int = 200
    eta: float = 1.0
    tune_steps: int = 64
    finetune_back: bool = False
    seed: int = 0
    occlusion: bool = True
    sampling: Duplicates = "last"
    wrap_white: bool = False
    blend: str = "none"
    precision: str = "f32"
    device: str = "auto"
    backend: str = "eager"

    def __post_init__(self):
        for name, ok, expected in (
            ("steps", 1 <= self.steps <= 1000, "1..1000"),
            ("eta", 0 <= self.eta <= 1, "0..1"),
            ("tune_steps", 0 <= self.tune_steps <= 10_000, "0..10000"),
            ("seed", 0 <= self.seed < 2**63, "a whole number >= 0"),
            ("sampling", self.sampling in ("last", "sum"), "last or sum"),
            ("blend", self.blend in BLENDS, " or ".join(BLENDS)),
            ("precision", self.precision in PRECISIONS, " or ".join(PRECISIONS)),
            ("device", self.device in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
        ):
            if not ok:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected {expected}")
        check_backend(self.backend)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device: got 'cuda', but torch finds no CUDA device")

    @property
    def torch_device(self) -> torch.device:
        """What `device` means on this machine."""
        return torch.device(
            "cuda"
            if self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
            else "cpu"
        )

    @property
    def autocast(self) -> torch.dtype | None:
        """None for f32."""
        return {"f32": None, "bf16": torch.bfloat16, "f16": torch.float16}[self.precision]


@dataclass(frozen=True, eq=False)
class Photo:
    """One view: rgb u8[H,W,3], mask u8[H,W] (white = person), its fit, and a name for messages."""

    name: str
    rgb: np.ndarray
    mask: np.ndarray
    fit: Fit


@dataclass(frozen=True, eq=False)
class Materials:
    """What an avatar is made with, besides the photos.

    checkpoint: a path, or a mapping of published names. assets_folder: of the published code, or None to derive
    them from the body. lpips: the user's perceptual distance, for tuning.
    """

    checkpoint: object
    body: Body
    assets_folder: object = None
    lpips: torch.nn.Module | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """The avatar, the textures on the way (stage -> f32[21,256,256] or masks) and figures for the report."""

    avatar: Avatar
    samples: list[Sample]
    rasters: list[np.ndarray]
    arrays: dict[str, np.ndarray]
    figures: dict


@dataclass(frozen=True, eq=False)
class _View:
    """A photo as the networks take it, and its UV raster: uv f32[2,H,W], mask f32[1,H,W]."""

    photo: Photo
    sample: Sample
    raster: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Textures:
    """What tuning starts from: the texture after and before the copy of the known part f32[21,T,T], the copy's
    weights f32[T,T], and how frontally the first view sees each texel f32[1,T,T]."""

    copied: np.ndarray
    decoded: np.ndarray
    mask: np.ndarray
    angles: np.ndarray


@dataclass(frozen=True, eq=False)
class _Job:
    """What every stage needs."""

    materials: Materials
    settings: Settings
    assets: Assets
    progress: bool

    def networks(self, *names: str) -> DinarModel:
        """These networks of the checkpoint, on the CPU."""
        return load_checkpoint(self.materials.checkpoint, networks=names)


def make_avatar(
    photos: Sequence[Photo],
    materials: Materials,
    settings: Settings,
    *,
    name: str,
    work: Work,
    licence: str = "",
    progress: bool = True,
) -> Result:
    """Run every stage; finished ones are taken from `work`. Raises DinarError."""
    assets, rig = _layout(materials, photos)
    job = _Job(materials, settings, assets, progress)
    samples = [_prepare(p, rig) for p in photos]
    views = [_View(p, s, _raster(s, assets)) for p, s in zip(photos, samples, strict=True)]
    seen = work.stage("textures", lambda: _view_textures(job, views))
    merged = _merge(seen["texture"], seen["normal_angles"], settings)
    inpainted = work.stage("inpainting", lambda: _inpaint(job, merged))["decoded"]
    mask = copy_mask(merged[CLOSED], assets.binary_uv)
    copied = copy_input_part(inpainted, merged, mask)
    if settings.blend == "poisson":
        copied[RGB] = poisson_blend(inpainted[RGB], merged[RGB], mask > 0.5, assets.binary_uv > 0.5)
    final = copied
    history: list[list[float]] = []
    if settings.tune_steps:
        textures = _Textures(copied, inpainted, mask, seen["normal_angles"][0])
        tuned = work.stage("tuning", lambda: _tune(job, views[0], textures))
        final = tuned["texture"]
        history = tuned["history"].tolist()
    spec, errors = _bake(job, views[0], final)
    avatar = Avatar(
        name,
        scaled(rig, photos[0].fit.scale),
        {"dinar": spec},
        body_kind=materials.body.kind,
        licence=licence,
        provenance={
            "method": "dinar",
            "photos": [p.name for p in photos],
            "settings": asdict(settings),
        },
    )
    figures = {
        "settings": asdict(settings) | {"device_used": str(settings.torch_device)},
        "seen": [float((v[CLOSED] > 0).sum() / (assets.binary_uv > 0.5).sum()) for v in seen["texture"]],
        "parity_max_error": errors,
        "tuning_losses": history,
        "lpips": "not run: its VGG16 backbone was not given"
        if materials.lpips is None or not settings.tune_steps
        else "run",
        "seconds": work.seconds,
    }
    arrays = {
        "partial": merged,
        "inpainted": inpainted,
        "copy_mask": mask,
        "final": final,
        "normal_angles": seen["normal_angles"][0],
    }
    avatar = make_checks(avatar, [photos[0].fit.pose])
    return Result(avatar, samples, [v.raster[0] for v in views], arrays, figures)


def _layout(materials: Materials, photos: Sequence[Photo]) -> tuple[Assets, Rig]:
    """The texture layout (from the checkpoint, checked against the body) and the rig of this person in that
    layout."""
    body = materials.body
    folder = materials.assets_folder
    layout = load_checkpoint(materials.checkpoint, networks=()).uv_layout
    if folder is None:
        assets = derive_assets(body) if layout is None else derive_assets(body, layout.faces, layout.uv)
    else:
        assets = load_assets(folder, body)
        own = assets.layout
        if layout is not None and not (
            np.array_equal(layout.faces, own.faces) and np.allclose(layout.uv, own.uv, atol=1e-5)
        ):
            raise InputError(
                f"{folder}: its UV layout is not the one in the checkpoint; give the assets that belong to it"
            )
    if not photos:
        raise InputError("photos: got none, expected at least one")
    longest = max(len(p.fit.betas) for p in photos)
    rig = body.rig(np.mean([np.pad(p.fit.betas, (0, longest - len(p.fit.betas))) for p in photos], 0))
    rig = replace(rig, uv=assets.layout.uv, uv_faces=assets.layout.faces)
    return assets, rig


def _prepare(photo: Photo, rig: Rig) -> Sample:
    try:
        rgb, mask = (
            image if photo.fit.ltrb is None else crop(image, photo.fit.ltrb)
            for image in (photo.rgb, photo.mask)
        )
        return make_sample(rgb, mask, photo.fit.projective(rig), photo.fit.camera.K.astype(np.float64))
    except InputError as e:
        raise InputError(f"{photo.name}: {e}") from None


def _raster(s: Sample, assets: Assets) -> tuple[np.ndarray, np.ndarray]:
    layout = assets.layout
    return rasterize_uv(s.projective[layout.v_inds], layout.faces, layout.uv, (SIZE, SIZE))


def _view_textures(job: _Job, views: Sequence[_View]) -> dict[str, np.ndarray]:
    """The partial texture of each view [N,21,T,T] (3.1, Algorithm 1) and how frontally it is seen
    [N,1,T,T]."""
    settings, assets = job.settings, job.assets
    device = settings.torch_device
    model = job.networks("encoder", "generator").to(device)
    encoder, generator = required(model.encoder), required(model.generator)
    rng = torch.Generator("cpu").manual_seed(settings.seed)
    textures, angles = [], []
    for view in views:
        s, uv = view.sample, view.raster[0]
        noise = torch.randn(1, 1, SIZE, SIZE, generator=rng)
        maps = generator.fresh_noise(1, rng)
        with torch.inference_mode():
            rgb, segm = (torch.from_numpy(a)[None].to(device) for a in (s.input_rgb, s.segm))
            style = encoder(rgb, segm, noise.to(device))
            generated = generator(style, [m.to(device) for m in maps])[0].float().cpu().numpy()
        seen_uv = erode_occlusions(uv, assets.part_colours) if settings.occlusion else uv
        sampled = sample_values_by_uv(
            seen_uv, quantise_rgb(s.input_rgb, settings.wrap_white), TEXTURE, s.segm, settings.sampling
        )
        normals = normal_map(s.projective[assets.layout.v_inds], s.K, assets.layout.faces, (SIZE, SIZE))
        facing = sample_values_by_uv(seen_uv, normals, TEXTURE, s.segm, settings.sampling).values
        textures.append(assemble_texture(generated, sampled))
        angles.append(facing.astype(np.float32) / np.float32(255))
    return {"texture": np.stack(textures), "normal_angles": np.stack(angles)}


def _merge(textures: np.ndarray, angles: np.ndarray, settings: Settings) -> np.ndarray:
    """Eq. 5 over the views that see a texel; the published softmax also counts the others, which darkens and
    thins the masks."""
    if len(textures) == 1:
        return textures[0]
    closed = textures[:, CLOSED : CLOSED + 1] > 0
    facing = np.where(closed | ~closed.any(0), angles, np.float32(-10))
    merged = merge_textures(textures, facing)
    if settings.blend == "pyramid":
        merged[RGB] = pyramid_blend(textures[:, RGB], view_weights(facing)[:, 0])
    return merged


def _inpaint(job: _Job, texture: np.ndarray) -> dict[str, np.ndarray]:
    """Compress, complete in latent space, decode (3.3)."""
    settings = job.settings
    model = job.networks("vq", "unet").to(settings.torch_device)
    vq = required(model.vq)
    x = torch.from_numpy(texture)[None].to(settings.torch_device)
    with torch.inference_mode():
        cond = condition(vq.encode(x), texture_mask(x))
    latent = inpaint(
        required(model.unet), cond.clone(), steps=settings.steps, eta=settings.eta, draws=Draws(settings.seed), progress=job.progress,
        autocast=settings.autocast, backend=settings.backend,
    )  # fmt: skip
    with torch.inference_mode():
        return {"decoded": vq.decode(latent)[0].float().cpu().numpy()}


def _tune(job: _Job, view: _View, textures: _Textures) -> dict[str, np.ndarray]:
    """RGB tuning on the first view (appendix B)."""
    settings, assets, lpips = job.settings, job.assets, job.materials.lpips
    device = settings.torch_device
    model = job.networks("renderer", "discriminator").to(device)

    def tensor(a: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(device)

    s = view.sample
    uv, uv_mask = view.raster
    inputs = TuningInputs(
        texture=tensor(textures.copied)[None],
        decoded=tensor(textures.decoded)[None],
        mask=tensor(textures.mask)[None, None],
        normal_angles=tensor(textures.angles)[None],
        uv=tensor(uv)[None],
        uv_mask=tensor(uv_mask)[None],
        real_rgb=tensor(s.real_rgb)[None],
        segm=tensor(s.segm)[None],
        pixels=s.projective[:, :2] / s.projective[:, 2:],
    )
    options = TuningOptions(
        settings.tune_steps, settings.finetune_back, settings.seed, autocast=settings.autocast
    )
    state = tune(
        required(model.renderer),
        model.discriminator,
        inputs,
        options,
        lpips=None if lpips is None else lpips.to(device),
        progress=job.progress,
    )
    texture = tuned_texture(inputs, state, tensor(assets.binary_uv), tensor(assets.additive_uv))
    losses = np.array(
        [[h.get("mse", np.nan), h.get("adversarial", np.nan)] for h in state.history], np.float32
    )
    return {"texture": texture[0].detach().cpu().numpy(), "history": losses}


def _bake(job: _Job, view: _View, final: np.ndarray) -> tuple[RendererSpec, dict[str, float]]:
    """Bake the texture, fold and write the network, and check both against torch: the renderer and how far
    they are apart. Raises InputError."""
    renderer = required(job.networks("renderer").renderer)
    baked = bake_texture(renderer, torch.from_numpy(final)[None])
    model = renderer_onnx(renderer)
    uv, mask = (torch.from_numpy(a)[None] for a in view.raster)
    with torch.inference_mode():
        sampled = renderer.sample(torch.from_numpy(baked).permute(2, 0, 1)[None].contiguous(), uv, mask)
        features = torch.cat([sampled, uv, mask], 1).numpy()
    errors = parity(renderer, model, features)
    if not max(errors.values()) <= MAX_PARITY_ERROR:
        raise InputError(
            f"renderer: the exported network differs from the checkpoint's by {errors}, expected at most {MAX_PARITY_ERROR:.4f}"
        )
    spec = RendererSpec(baked, model=model, hardsegm=True, threshold=THRESHOLD, margin=MARGIN, stride=STRIDE)
    return spec, errors


def scaled(rig: Rig, scale: float) -> Rig:
    """`rig` made `scale` times as large."""
    if scale == 1:
        return rig
    arrays = rig.arrays()
    for key in ("vertices", "joints", "expression_dirs", "expression_joint_dirs", "pose_dirs"):
        if key in arrays:
            arrays[key] = arrays[key] * np.float32(scale)
    return Rig.from_arrays(arrays, rig.expression_names)
