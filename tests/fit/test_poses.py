"""Estimated poses are refined: derivatives, a disturbed pose comes back, alignment before scores."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")

from dinar_live import kernels
from dinar_live.export.evaluate import evaluate
from dinar_live.export.fit.align import aligned, edges_of
from dinar_live.export.fit.contours import Equations
from dinar_live.export.fit.frames import skinning
from dinar_live.export.fit.poses import FREE, Poses, pose_rows, with_poses
from dinar_live.runtime import Pose
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.solver.so3 import log


def disturbed(frames, degrees, metres, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for f in frames:
        local = axis_angle_to_matrix(f.pose.body.astype(float))
        local[FREE] = local[FREE] @ axis_angle_to_matrix(
            rng.normal(size=(len(FREE), 3)) * np.radians(degrees) / np.sqrt(3)
        )
        transl = f.pose.transl + rng.normal(0, metres, 3)
        out.append(replace(f, pose=Pose(log(local), transl, f.pose.expression)))
    return out


def errors(frames, truth) -> float:
    """Mean angle of the free joints off, degrees."""
    a, b = (
        axis_angle_to_matrix(np.stack([f.pose.body for f in fs]).astype(float))[:, FREE]
        for fs in (frames, truth)
    )
    return float(np.degrees(np.linalg.norm(log(np.swapaxes(a, -1, -2) @ b), axis=-1)).mean())


def test_pose_rows_are_derivatives(person):
    rig, frame = person.truth.rig, person.frames[3]
    rng = np.random.default_rng(1)
    local = axis_angle_to_matrix(rng.normal(0, 0.3, (55, 3)))
    transl = rng.normal(size=3)
    vertex = rng.integers(0, len(rig.model.vertices), (6, 2))
    pose = Pose(log(local), transl, frame.pose.expression)
    linear, shift, rest = skinning(rig, pose)
    world_row = rng.normal(size=(6, 2, 3))
    row = np.einsum("nkc,nkcd->nkd", world_row, linear[vertex])

    def value(change):
        turned = local.copy()
        turned[FREE] = local[FREE] @ axis_angle_to_matrix(change[:-3].reshape(-1, 3))
        a, b, r = skinning(rig, Pose(log(turned), transl + change[-3:], frame.pose.expression))
        x = np.einsum("vab,vb->va", a, r) + b
        return np.einsum("nkc,nkc->n", world_row, x[vertex])

    got = pose_rows(rig, local, transl, frame.pose.expression, Equations(vertex, row, np.zeros(6)), linear)
    for column in (0, 1, 5, 14, 40, got.shape[1] - 1):
        step = np.zeros(got.shape[1])
        step[column] = 2e-3  # poses are kept in float32
        slope = (value(step) - value(-step)) / 4e-3
        np.testing.assert_allclose(got[:, column], slope, atol=3e-3)


def skin_off(rig, frames, truth) -> float:
    """Mean distance of the skin's vertices from where they should be, metres."""
    out = []
    for pair in zip(frames, truth, strict=True):
        a, b = (kernels.lbs(rig.model, f.pose.body, f.pose.transl, f.pose.expression) for f in pair)
        out.append(np.linalg.norm(a - b, axis=1).mean())
    return float(np.mean(out))


def test_disturbed_poses_come_back(person):
    rig, few = person.truth.rig, person.frames[:3]
    texture = person.truth.renderers["texture"].texture.astype(np.float32) / 255
    poses = Poses(disturbed(few, 4, 0.01))
    before = skin_off(rig, poses.frames, few)
    rng = np.random.default_rng(0)
    edges = edges_of(rig)
    poses.refine(rig, edges, None, 2.0, rng, 4)
    outlines = skin_off(rig, poses.frames, few)
    for blur in (2.0, 1.2):
        poses.refine(rig, edges, texture, blur, rng, 2)
    both = skin_off(rig, poses.frames, few)
    assert both < outlines < 0.7 * before and both < 0.5 * before


def test_neighbours_pull_a_frame_back(person):
    still = [replace(person.frames[0], pose=Pose(person.frames[0].pose.body)) for _ in range(5)]
    wrong = disturbed(still[2:3], 12, 0.03)[0]
    frames = [*still[:2], replace(wrong, picture=np.zeros_like(wrong.picture)), *still[3:]]
    poses = Poses(frames, np.arange(5) * 0.15)
    poses.refine(person.truth.rig, edges_of(person.truth.rig), None, 2.0, np.random.default_rng(0), 3)
    assert (
        errors(poses.frames[2:3], still[2:3]) < 3
    )  # of 12: between what the estimate and the neighbours say


def test_frames_left_out_lie_between_their_neighbours(person):
    n = len(person.capture)
    capture = replace(person.capture, time=np.arange(n) / 10)
    indices = np.array([0, 2, 3, 5])
    poses = Poses([person.frames[i] for i in indices], capture.time[indices])
    out = with_poses(capture, indices, poses)
    np.testing.assert_allclose(out.poses[indices], capture.poses[indices], atol=1e-5)
    half = axis_angle_to_matrix(out.poses[1].astype(float))
    a, b = (axis_angle_to_matrix(capture.poses[i].astype(float)) for i in (0, 2))
    np.testing.assert_allclose(log(np.swapaxes(a, 1, 2) @ half), log(np.swapaxes(half, 1, 2) @ b), atol=1e-4)


def test_alignment_makes_a_fair_score(person):
    held = person.capture.frames("validation")[:2]
    bad = disturbed([replace(person.frames[0], pose=person.capture.pose(i)) for i in held], 4, 0.015, seed=3)
    poses, transl = person.capture.poses.copy(), person.capture.transl.copy()
    poses[held] = [f.pose.body for f in bad]
    transl[held] = [f.pose.transl for f in bad]
    capture = replace(person.capture, poses=poses, transl=transl)
    scores = [
        evaluate(person.truth, c, held, "texture").scores
        for c in (
            capture,
            aligned(person.truth, capture, held, "outlines"),
            aligned(person.truth, capture, held),
        )
    ]
    iou = [s["alpha_iou"].mean() for s in scores]
    psnr = [s["psnr"].mean() for s in scores]
    assert iou[1] > iou[0] + 0.02 and psnr[2] > psnr[0] + 4 and psnr[2] >= psnr[1]
    with pytest.raises(InputError, match="outlines or both"):
        aligned(person.truth, capture, held, "colours")


@pytest.mark.slow
def test_fit_refines_what_a_capture_calls_estimates(person, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from dinar_live.export.fit import offsets
    from dinar_live.export.fit.pipeline import FitSettings, fit_with_poses

    monkeypatch.setattr(offsets, "SMOOTHNESS", (30.0, 3.0))
    n = len(person.capture)
    split = np.where(np.arange(n) < 6, 0, np.where(np.arange(n) == 6, 1, 2)).astype(np.uint8)
    capture = replace(person.capture, estimated=True, time=np.arange(n) / 10, split=split)
    settings = FitSettings(texture=64, neural=2, width=16, steps=0, colours=False)
    avatar, refined = fit_with_poses(
        capture, person.body, settings, name="me", work=tmp_path / "w", report=lambda _: None
    )
    assert avatar.provenance["poses"] == "refined"
    moved = np.abs(refined.poses[:6] - capture.poses[:6]).max()
    assert 1e-3 < moved < 0.3 and (refined.poses[6] != capture.poses[6]).any()
    refined.write_poses(tmp_path / "poses.npz")
    np.testing.assert_array_equal(capture.with_poses_of(tmp_path / "poses.npz").poses, refined.poses)
    with pytest.raises(InputError, match="no such file"):
        capture.with_poses_of(tmp_path / "other.npz")
