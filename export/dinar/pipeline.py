"""One photo (or a few) to an avatar with the DINAR networks: the order of the published inference (paper Fig.
2, sections 3.1 to 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from dinar_live.export.checkpoint import load_checkpoint
from dinar_live.export.checks import make_checks
from dinar_live.export.work import Work
from dinar_live.runtime.avatar import Avatar, Body, RendererSpec, Rig
from dinar_live.runtime.core.errors import InputError

from .assets import Assets, derive_assets, load_assets
from .bake import MARGIN, bake_texture, parity, renderer_onnx
from .blend import poisson_blend, pyramid_blend
from .copy_known import copy_input_part, copy_mask
from .crop import SIZE, Sample, crop, make_sample
from .ddim import condition
from .ddim import sample as inpaint
from .fits import Fit
from .masks import CLOSED, RGB, assemble_texture, texture_mask
from .merge import merge_textures, view_weights
from .normals import normal_map
from .occlusion import erode_occlusions
from .rasterize_uv import rasterize_uv
from .sampling import quantise_rgb, sample_values_by_uv
from .tuning import TuningInputs, tune, tuned_texture

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
    compile: the U-Net by torch.compile."""

    steps: int = 200
    eta: float = 1.0
    tune_steps: int = 64
    finetune_back: bool = False
    seed: int = 0
    occlusion: bool = True
    sampling: str = "last"
    wrap_white: bool = False
    blend: str = "none"
    precision: str = "f32"
    device: str = "auto"
    compile: bool = False

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
class Result:
    """The avatar, the textures on the way (stage -> f32[21,256,256] or masks) and figures for the report."""

    avatar: Avatar
    samples: list[Sample]
    rasters: list[np.ndarray]
    arrays: dict[str, np.ndarray]
    figures: dict


def make_avatar(
    photos: Sequence[Photo],
    checkpoint,
    body: Body,
    settings: Settings,
    *,
    name: str,
    work: Work,
    assets_folder=None,
    lpips: torch.nn.Module | None = None,
    licence: str = "",
    progress: bool = True,
) -> Result:
    """Run every stage; finished ones are taken from `work`. checkpoint: a path, or a mapping of published
    names. lpips: the user's perceptual distance, for tuning. Raises DinarError."""
    assets, rig = _layout(checkpoint, body, assets_folder, photos)
    samples = [_prepare(p, rig) for p in photos]
    rasters = [
        rasterize_uv(s.projective[assets.layout.v_inds], assets.layout.faces, assets.layout.uv, (SIZE, SIZE))
        for s in samples
    ]
    views = work.stage("textures", lambda: _view_textures(samples, rasters, checkpoint, assets, settings))
    merged = _merge(views["texture"], views["normal_angles"], settings)
    inpainted = work.stage("inpainting", lambda: _inpaint(merged, checkpoint, settings, progress))["decoded"]
    mask = copy_mask(merged[CLOSED], assets.binary_uv)
    copied = copy_input_part(inpainted, merged, mask)
    if settings.blend == "poisson":
        copied[RGB] = poisson_blend(inpainted[RGB], merged[RGB], mask > 0.5, assets.binary_uv > 0.5)
    final, history = copied, []
    if settings.tune_steps:
        tuned = work.stage(
            "tuning",
            lambda: _tune(
                copied,
                inpainted,
                mask,
                views["normal_angles"][0],
                samples[0],
                rasters[0],
                checkpoint,
                assets,
                settings,
                lpips,
                progress,
            ),
        )
        final, history = tuned["texture"], tuned["history"].tolist()
    avatar, errors = _bundle(
        final, rig, photos, samples[0], rasters[0], checkpoint, settings, name, licence, body.kind
    )
    figures = {
        "settings": asdict(settings) | {"device_used": str(settings.torch_device)},
        "seen": [float((v[CLOSED] > 0).sum() / (assets.binary_uv > 0.5).sum()) for v in views["texture"]],
        "parity_max_error": errors,
        "tuning_losses": history,
        "lpips": "not run: its VGG16 backbone was not given"
        if lpips is None or not settings.tune_steps
        else "run",
        "seconds": work.seconds,
    }
    arrays = {
        "partial": merged,
        "inpainted": inpainted,
        "copy_mask": mask,
        "final": final,
        "normal_angles": views["normal_angles"][0],
    }
    return Result(avatar, samples, [uv for uv, _ in rasters], arrays, figures)


def _layout(checkpoint, body: Body, folder, photos: Sequence[Photo]) -> tuple[Assets, Rig]:
    """The texture layout (from the checkpoint, checked against the body) and the rig of this person in that
    layout."""
    layout = load_checkpoint(checkpoint, networks=()).uv_layout
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


def _view_textures(samples, rasters, checkpoint, assets: Assets, settings: Settings) -> dict[str, np.ndarray]:
    """The partial texture of each view [N,21,T,T] (3.1, Algorithm 1) and how frontally it is seen
    [N,1,T,T]."""
    device = settings.torch_device
    model = load_checkpoint(checkpoint, networks=("encoder", "generator")).to(device)
    rng = torch.Generator("cpu").manual_seed(settings.seed)
    textures, angles = [], []
    for s, (uv, _) in zip(samples, rasters, strict=True):
        noise = torch.randn(1, 1, SIZE, SIZE, generator=rng)
        maps = model.generator.fresh_noise(1, rng)
        with torch.inference_mode():
            rgb, segm = (torch.from_numpy(a)[None].to(device) for a in (s.input_rgb, s.segm))
            style = model.encoder(rgb, segm, noise.to(device))
            generated = model.generator(style, [m.to(device) for m in maps])[0].float().cpu().numpy()
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


def _inpaint(texture: np.ndarray, checkpoint, settings: Settings, progress: bool) -> dict[str, np.ndarray]:
    """Compress, complete in latent space, decode (3.3)."""
    device = settings.torch_device
    model = load_checkpoint(checkpoint, networks=("vq", "unet")).to(device)
    x = torch.from_numpy(texture)[None].to(device)
    with torch.inference_mode():
        cond = condition(model.vq.encode(x), texture_mask(x))
    latent = inpaint(
        model.unet, cond.clone(), steps=settings.steps, eta=settings.eta, seed=settings.seed, progress=progress,
        autocast=settings.autocast, compile=settings.compile,
    )  # fmt: skip
    with torch.inference_mode():
        return {"decoded": model.vq.decode(latent)[0].float().cpu().numpy()}


def _tune(
    copied,
    decoded,
    mask,
    angles,
    s: Sample,
    raster,
    checkpoint,
    assets: Assets,
    settings: Settings,
    lpips,
    progress: bool,
) -> dict[str, np.ndarray]:
    """RGB tuning on the first view (appendix B)."""
    device = settings.torch_device
    model = load_checkpoint(checkpoint, networks=("renderer", "discriminator")).to(device)

    def tensor(a: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(device)

    inputs = TuningInputs(
        texture=tensor(copied)[None], decoded=tensor(decoded)[None], mask=tensor(mask)[None, None], normal_angles=tensor(angles)[None],
        uv=tensor(raster[0])[None], uv_mask=tensor(raster[1])[None], real_rgb=tensor(s.real_rgb)[None], segm=tensor(s.segm)[None],
        pixels=s.projective[:, :2] / s.projective[:, 2:],
    )  # fmt: skip
    state = tune(
        model.renderer, model.discriminator, inputs, steps=settings.tune_steps, finetune_back=settings.finetune_back, seed=settings.seed,
        lpips=None if lpips is None else lpips.to(device), progress=progress, autocast=settings.autocast,
    )  # fmt: skip
    texture = tuned_texture(inputs, state, tensor(assets.binary_uv), tensor(assets.additive_uv))
    losses = np.array(
        [[h.get("mse", np.nan), h.get("adversarial", np.nan)] for h in state.history], np.float32
    )
    return {"texture": texture[0].detach().cpu().numpy(), "history": losses}


def _bundle(
    final, rig: Rig, photos, s: Sample, raster, checkpoint, settings, name, licence, kind
) -> tuple[Avatar, dict[str, float]]:
    """Bake the texture, fold and write the network, check both against torch, and make the avatar with its
    checks."""
    renderer = load_checkpoint(checkpoint, networks=("renderer",)).renderer
    baked = bake_texture(renderer, torch.from_numpy(final)[None])
    model = renderer_onnx(renderer)
    uv, mask = (torch.from_numpy(a)[None] for a in raster)
    with torch.inference_mode():
        sampled = renderer.sample(torch.from_numpy(baked).permute(2, 0, 1)[None].contiguous(), uv, mask)
        features = torch.cat([sampled, uv, mask], 1).numpy()
    errors = parity(renderer, model, features)
    if not max(errors.values()) <= MAX_PARITY_ERROR:
        raise InputError(
            f"renderer: the exported network differs from the checkpoint's by {errors}, expected at most {MAX_PARITY_ERROR:.4f}"
        )
    scale = photos[0].fit.scale
    spec = RendererSpec(baked, model=model, hardsegm=True, threshold=THRESHOLD, margin=MARGIN, stride=STRIDE)
    provenance = {"method": "dinar", "photos": [p.name for p in photos], "settings": asdict(settings)}
    avatar = Avatar(
        name, scaled(rig, scale), {"dinar": spec}, body_kind=kind, licence=licence, provenance=provenance
    )
    return make_checks(avatar, [p.fit.pose for p in photos[:1]]), errors


def scaled(rig: Rig, scale: float) -> Rig:
    """`rig` made `scale` times as large."""
    if scale == 1:
        return rig
    arrays = rig.arrays()
    for key in ("vertices", "joints", "expression_dirs", "expression_joint_dirs", "pose_dirs"):
        if key in arrays:
            arrays[key] = arrays[key] * np.float32(scale)
    return Rig.from_arrays(arrays, rig.expression_names)
