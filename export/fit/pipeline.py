"""`dinar fit`: a capture in, an avatar with hair and clothes out. The steps in order; each says in its own
module what it does."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from dinar_live.export.capture import Capture
from dinar_live.export.checks import make_checks
from dinar_live.export.completion.renderers import read_renderers, shipped
from dinar_live.export.texture_space import texels
from dinar_live.export.work import Work, fingerprint
from dinar_live.runtime.avatar import Avatar, Body, RendererSpec
from dinar_live.runtime.core.errors import InputError

from . import half
from .colours import filled_texture, mean_texture
from .frames import read_frames, with_offsets
from .offsets import fit_offsets
from .poses import Poses, with_poses
from .samples import Crops
from .train import Model, Settings, Trainer

CHECK_POSES = 2
MAX_TEXTURE = 2048
Report = Callable[[str], None]


@dataclass(frozen=True)
class FitSettings:
    """texture: texels a side; neural: channels beside the colour; width: channels of the network at half
    resolution, both of `light`, the other networks are as half.LADDER says; steps of training for each;
    offsets: move the mesh; colours: refine that by colours; device: cpu or cuda; poses: refine each frame's pose, too,
    None: where the capture says that they are estimates."""

    texture: int = 512
    neural: int = half.LADDER[0].neural
    width: int = half.LADDER[0].width
    steps: int = 1500
    offsets: bool = True
    colours: bool = True
    seed: int = 0
    device: str = "cpu"
    poses: bool | None = None

    def __post_init__(self):
        for name, low, high in (("texture", 64, MAX_TEXTURE), ("neural", 0, half.MAX_NEURAL), ("width", 16, half.MAX_WIDTH),
                                ("steps", 0, 1_000_000),
                                ("seed", 0, 2**32 - 1)):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name}: got {value}, expected {low}..{high}")
        if self.width % 16:
            raise InputError(f"width: got {self.width}, expected a multiple of 16")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "device cuda: torch sees no GPU; install a driver and a CUDA build of torch, or use cpu"
            )

    @property
    def ladder(self) -> tuple[half.Rung, ...]:
        """The networks to train, best first."""
        first, *others = half.LADDER
        return (replace(first, width=self.width, neural=self.neural), *others)


def fit_capture(
    capture: Capture, body: Body, settings: FitSettings, *, name: str, licence: str = "", work: pathlib.Path | None = None,
    report: Report = print, progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Avatar:  # fmt: skip
    """Fit an avatar (renderers `light`, `lite` and `texture`) to the training frames of a capture.

    work: a folder for finished stages, which are not computed again (None: nothing is kept). report: told a
    line per stage; progress: told the step (of all networks' together) and the mean loss while training. Raises
    InputError.
    """
    return fit_with_poses(
        capture, body, settings, name=name, licence=licence, work=work, report=report, progress=progress
    )[0]


def fit_with_poses(
    capture: Capture, body: Body, settings: FitSettings, *, name: str, licence: str = "", work: pathlib.Path | None = None,
    report: Report = print, progress: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[Avatar, Capture]:  # fmt: skip
    """`fit_capture`, and the capture with the poses that it was fitted with: where they were refined, the training
    frames have the refined ones and, if the capture says its times, the others what lies between their neighbours."""
    s = settings
    began = time.monotonic()
    indices = capture.frames("training")
    bare = body.rig(capture.betas)
    capture.check_body(bare)
    frames = read_frames(capture, indices)
    given = fingerprint([capture.path / "capture.npz", *map(capture.image_path, indices)], {}, bare.arrays())
    refine = capture.estimated if s.poses is None else s.poses
    if refine and not s.offsets:
        raise InputError("poses: are refined while the mesh is moved, which offsets=False forbids")
    for_mesh = {"given": given, "colours": s.colours, "seed": s.seed, "poses": refine}
    mesh_work = Work(work, fingerprint([], for_mesh))
    if s.offsets:
        poses = Poses(frames, None if capture.time is None else capture.time[indices]) if refine else None

        def find_mesh() -> dict[str, np.ndarray]:
            offset = fit_offsets(bare, frames, colours=s.colours, seed=s.seed, report=report, poses=poses)
            return {"offset": offset} | (
                {} if poses is None else {"local": poses.local, "transl": poses.transl}
            )

        mesh = mesh_work.stage("mesh", find_mesh)
        rig = with_offsets(bare, mesh["offset"])
        if poses is not None:
            poses.put(mesh["local"], mesh["transl"])
            capture = with_poses(capture, indices, poses)
            frames = poses.frames
    else:
        rig = bare
    mesh_seconds = time.monotonic() - began
    texture, weight = mean_texture(rig, frames, s.texture)
    colour = filled_texture(rig, texels(rig, s.texture), texture, weight)
    training = Settings(steps=s.steps, seed=s.seed, device=s.device, bf16=s.device == "cuda")
    crops = Crops(rig, frames, training.size, s.seed)
    renderers = {}
    generic = read_renderers() if shipped() else {}
    for done, rung in enumerate(s.ladder):
        kept = Work(work, fingerprint([], for_mesh | asdict(s) | {"rung": asdict(rung)}))
        trainer = Trainer(
            Model(colour, rung, s.seed, generic.get(rung.name)),
            lambda step: crops.batch(step, training.batch),
            training,
            kept.file(f"train_{rung.name}"),
        )
        before = done * s.steps
        report(f"network {rung.name}, {half.gflop(rung):.2f} GFLOP for 512x512")
        model = trainer.run(lambda step, loss, before=before: progress(before + step, loss))
        renderers[rung.name] = network_renderer(model)
    renderers["texture"] = RendererSpec(eight_bits(colour), samples=2)
    provenance = {
        "method": "fit", "capture": capture.name, "frames": len(frames), "settings": asdict(s),
        "poses": "refined" if refine else "as given",
        "seconds": {"mesh": round(mesh_seconds, 1), "all": round(time.monotonic() - began, 1)},
    }  # fmt: skip
    avatar = Avatar(
        name=name, rig=rig, renderers=renderers, body_kind=body.kind, licence=licence, provenance=provenance
    )
    return make_checks(avatar, _apart(capture, indices)), capture


def network_renderer(model: Model) -> RendererSpec:
    """The trained textures, in 8 bits, and their network."""
    colour, neural = (
        eight_bits(t.detach().permute(1, 2, 0).cpu().numpy()) for t in (model.colour, model.neural)
    )
    return RendererSpec(
        colour,
        model=half.build_onnx(model.network.numpy_weights()),
        neural=neural,
        margin=half.reach(model.network.rung),
        stride=half.STRIDE,
    )


def eight_bits(texture: np.ndarray) -> np.ndarray:
    """f32 in [0,1] as u8."""
    return np.ascontiguousarray((np.clip(texture, 0, 1) * 255 + 0.5).astype(np.uint8))


def _apart(capture: Capture, indices: np.ndarray) -> list:
    """Poses for the check pictures: the first, and the one least like it."""
    poses = [capture.pose(i) for i in indices]
    distance = [float(np.abs(p.body - poses[0].body).sum()) for p in poses]
    return [poses[i] for i in dict.fromkeys((0, int(np.argmax(distance))))][:CHECK_POSES]
