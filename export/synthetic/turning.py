"""Films of drawn people who turn round once before a camera that stands still, as a phone would take them, and the
truth beside them: what `dinar capture` is measured with; or of people who perform a motion, for `dinar pose` and `dinar live`.

    python -m dinar_live.export.synthetic.turning ASSETS OUT --people ada marco kofi --seconds 15
    python -m dinar_live.export.synthetic.turning ASSETS OUT --motion demo --start 12 --seconds 5 --height 480 --width 360

For each person: OUT/NAME_plain.mp4 and OUT/NAME_busy.mp4, the same motion before two backgrounds, and
OUT/NAME_truth, a capture folder with the exact pose, camera and alpha of every frame.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.motion import Motion, demo_motion, load_motion
from dinar_live.runtime.render.video.sink import VideoSink

from . import people
from .assets import Assets
from .person import Person

FPS = 30.0
SIZE = (960, 540)  # height, width: a phone held upright
FILL = 0.8  # of the picture's height is the person
SHUTTER = 0.3  # of a frame's time is the shutter open: 1/100 s
GLIMPSES = 2  # renders that a frame is the mean of
NOISE = 2.0  # of 255: the camera's sensor
SMOOTH_SECONDS = 0.35  # how quickly a person sways
KEY = 41


@dataclass(frozen=True)
class Scene:
    """seconds: length of the film, in which the person turns round once. size (height, width); focal: of the longer
    side; height: of the camera above the ground, metres; blur: whether moving things are smeared."""

    seconds: float = 15.0
    size: tuple[int, int] = SIZE
    focal: float = 1.1
    height: float = 1.2
    blur: bool = True

    @property
    def frames(self) -> int:
        return round(self.seconds * FPS)


def sway(rng: np.random.Generator, count: int, sigma: float, curves: int) -> np.ndarray:
    """f64[count,curves]: smooth random curves with standard deviation `sigma`."""
    width = SMOOTH_SECONDS * FPS
    reach = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    noise = rng.normal(size=(count + 2 * reach, curves))
    return sigma * np.stack([np.convolve(noise[:, k], kernel, "valid") for k in range(curves)], 1)


def turning_motion(
    person: Person, assets: Assets, rest: np.ndarray, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Poses f64[count,55,3] and translations f64[count,3] of somebody who turns round once with small steps, arms a
    little away from the body. rest f64[30,3]: relaxed hands."""
    poser = assets.poser
    arms, spine, head = sway(rng, count, 0.07, 8), sway(rng, count, 0.03, 3), sway(rng, count, 0.05, 3)
    drift = sway(rng, count, 0.015, 2)
    poses, places = np.zeros((count, 55, 3)), np.zeros((count, 3))
    for i in range(count):
        p, t = poses[i], i / max(count - 1, 1)
        yaw = 2 * np.pi * np.clip((t - 0.04) / 0.92, 0, 1)
        step = np.sin(2 * np.pi * i / (1.5 * FPS)) * (0.04 < t < 0.96)
        for side, lift in ((1, arms[i, :4]), (-1, arms[i, 4:])):
            poser._arm(p, side, np.array((-0.8, 0, 0, 0.15)) + lift)
            poser._hand(p, side, 0.1, 0.3, rest)
            d = max(0.0, side * step)
            poser._leg(p, side, 0.02 + 0.18 * d, 0.08, 0.08, 0.04 + 0.35 * d, -0.05)
        for k in ("spine1", "spine2", "spine3"):
            p[J[k]] = spine[i]
        p[J["head"]] = head[i]
        p[J["neck"]] = head[i] * 0.5
        p[0] = [0, (yaw + np.pi) % (2 * np.pi) - np.pi, 0]
        places[i] = [drift[i, 0], 0, drift[i, 1]]
        places[i, 1] = poser.ground(person.flat, p, np.zeros(62))
    return poses, places


def performed(
    person: Person, assets: Assets, motion: Motion, start: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same of somebody who performs a motion from `start` seconds on."""
    fitted = motion.for_avatar(person.joints)
    shown = [fitted.pose_at(start + i / FPS) for i in range(count)]
    poses = np.stack([p.body for p in shown]).astype(float)
    places = np.stack([p.transl for p in shown]).astype(float)
    places[:, 1] += assets.poser.ground(person.flat, poses[0], np.zeros(62)) - places[0, 1]
    return poses, places


def still_camera(vertices: np.ndarray, scene: Scene, assets: Assets) -> tuple[np.ndarray, np.ndarray]:
    """K f64[3,3] and world_to_camera f64[4,4] of a camera that sees all of vertices f64[n,3]."""
    height, width = scene.size
    focal = scene.focal * max(scene.size)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    low, high = vertices.min(0), vertices.max(0)
    middle = (low + high) / 2
    distance = focal * max((high - low)[1] / (FILL * height), (high - low)[0] / (0.92 * width)) + 0.3
    eye = middle + [0, 0, distance]
    eye[1] = scene.height
    return K, assets.builder.look_at(eye, middle)


def background(kind: str, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """f32[H,W,3] in 0..255: "plain", a wall with light from above; "busy", a room full of things."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(size)
    wall = 205 - 40 * y - 25 * ((x - 0.3) ** 2 + (y - 0.4) ** 2)
    out = wall[..., None] * np.array([0.98, 1.0, 1.02], np.float32)
    floor = y > 0.88 * height / max(size)
    out[floor] = out[floor] * np.array([0.72, 0.66, 0.6], np.float32)
    if kind == "busy":
        for _ in range(70):
            a = (rng.uniform(-0.1, 1, 2) * (width, height)).astype(int)
            b = a + (rng.uniform(0.04, 0.35, 2) * (width, height)).astype(int)
            colour = tuple(map(float, rng.uniform(20, 235, 3)))
            if rng.random() < 0.6:
                cv2.rectangle(out, a.tolist(), b.tolist(), colour, -1)
                cv2.rectangle(out, a.tolist(), b.tolist(), tuple(0.6 * c for c in colour), 2)
            else:
                cv2.circle(out, a.tolist(), int(rng.uniform(8, 50)), colour, -1)
        grain = cv2.resize(rng.normal(0, 14, (height // 3, width // 3)).astype(np.float32), (width, height))
        out = cv2.GaussianBlur(out + grain[..., None], (0, 0), 1.2)
    return np.clip(out, 0, 255).astype(np.float32)


def glimpses(
    person: Person, assets: Assets, poses: np.ndarray, places: np.ndarray, camera, scene: Scene
) -> Iterator[np.ndarray]:
    """Premultiplied f32[H,W,4] in 0..255 of each frame, smeared over the time that the shutter is open."""
    K, view = camera
    height, width = scene.size
    count = len(poses)
    shares = np.linspace(-0.5, 0.5, GLIMPSES) * SHUTTER if scene.blur else np.zeros(1)
    seen = [assets.builder.posed(person.flat, p, (), t) for p, t in zip(poses, places, strict=True)]
    for i in range(count):
        mean = np.zeros((height, width, 4), np.float32)
        for share in shares:
            other = seen[min(max(i + (1 if share > 0 else -1), 0), count - 1)]
            v = seen[i] + abs(share) * (other - seen[i])
            rgba = assets.builder.render(person.flat, v, K, view, width, height, ss=2).astype(np.float32)
            rgba[..., :3] *= rgba[..., 3:] / 255
            mean += rgba / len(shares)
        yield mean


def write_film(
    name: str,
    assets: Assets,
    body: Body,
    out,
    scene: Scene,
    *,
    seed: int = 0,
    motion: Motion | None = None,
    start=0.0,
) -> None:
    """Render one person's films and truth into folder `out`. name: one of the builder's people, or a number for a
    drawn one. motion, start: see `performed`; without one the person turns round."""
    out = pathlib.Path(out)
    rng = np.random.default_rng([KEY, seed])
    config = people.draw(rng, assets) if name.isdigit() else assets.builder.PEOPLE[name]
    person = people.vary(people.build(config, assets, body), rng, assets, plain=True)
    rest = np.concatenate([body.hands_mean_l, body.hands_mean_r]).reshape(30, 3).astype(float)
    if motion is None:
        poses, places = turning_motion(person, assets, rest, rng, scene.frames)
    else:
        poses, places = performed(person, assets, motion, start, scene.frames)
    few = range(0, len(poses), 10)
    v = np.concatenate([assets.builder.posed(person.flat, poses[i], (), places[i]) for i in few])
    camera = still_camera(v, scene, assets)
    truth = out / f"{name}_truth"
    (truth / "images").mkdir(parents=True, exist_ok=True)
    walls = {kind: background(kind, scene.size, rng) for kind in ("plain", "busy")}
    sinks = {kind: VideoSink(out / f"{name}_{kind}.mp4", scene.size, FPS) for kind in walls}
    for i, seen in enumerate(glimpses(person, assets, poses, places, camera, scene)):
        alpha = seen[..., 3:]
        for kind, wall in walls.items():
            frame = seen[..., :3] + wall * (1 - alpha / 255) + rng.normal(0, NOISE, seen[..., :3].shape)
            rgb = np.clip(frame + 0.5, 0, 255).astype(np.uint8)
            sinks[kind].write(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))
        colour = np.where(alpha > 0, 255 * seen[..., :3] / np.maximum(alpha, 1e-3), 0)
        rgba = np.concatenate([colour, alpha], 2) + 0.5
        rgba = np.clip(rgba, 0, 255).astype(np.uint8)
        cv2.imwrite(
            str(truth / "images" / f"{i:06d}.png"), rgba[..., [2, 1, 0, 3]], [cv2.IMWRITE_PNG_COMPRESSION, 1]
        )
    for sink in sinks.values():
        sink.close()
    n = len(poses)
    np.savez_compressed(
        truth / "capture.npz", poses=poses.astype(np.float32), transl=places.astype(np.float32),
        betas=person.flat["betas"].astype(np.float32), expression=np.zeros((n, 62), np.float32),
        K=np.tile(camera[0].astype(np.float32), (n, 1, 1)),
        world_to_camera=np.tile(camera[1].astype(np.float32), (n, 1, 1)),
        image_size=np.array(scene.size[::-1], np.int32), split=np.ones(n, np.uint8), close_up=np.zeros(n, np.uint8),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("assets", help="the folder makehuman_cc0")
    parser.add_argument("out", help="folder for the films")
    parser.add_argument(
        "--people", nargs="+", default=["ada", "marco", "kofi"], help="names, or numbers of drawn people"
    )
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument(
        "--height", type=int, default=SIZE[0], help="of the picture, pixels; its width is 9/16 of it"
    )
    parser.add_argument("--width", type=int, help="another width")
    parser.add_argument(
        "--motion", metavar="FILE", help="what they perform instead of turning: a motion file, or demo"
    )
    parser.add_argument("--start", type=float, default=0.0, help="seconds of the motion that are left out")
    parser.add_argument("--focal", type=float, default=1.1, help="length, of the picture's longer side")
    a = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    assets, body = Assets.open(a.assets), Body.open()
    scene = Scene(a.seconds, (a.height, a.width or round(a.height * 9 / 32) * 2), a.focal)
    motion = None if a.motion is None else demo_motion() if a.motion == "demo" else load_motion(a.motion)
    for name in a.people:
        write_film(name, assets, body, a.out, scene, seed=sum(map(ord, name)), motion=motion, start=a.start)
        print(pathlib.Path(a.out) / f"{name}_plain.mp4", flush=True)


if __name__ == "__main__":
    main()
