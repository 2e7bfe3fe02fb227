"""What belongs to a texture layout: derived from the body, read from a folder, and refused when it belongs to
another body."""

import time

import cv2
import numpy as np
import pytest

from dinar_live.export.dinar.assets import FILES, Layout, derive_assets, load_assets, match_layout, paint
from dinar_live.export.dinar.crop import make_sample
from dinar_live.export.dinar.fits import Fit, read_fit
from dinar_live.export.dinar.normals import normal_map
from dinar_live.export.dinar.occlusion import erode_occlusions, occlusion_outlines
from dinar_live.export.dinar.rasterize_uv import rasterize_uv
from dinar_live.export.dinar.sampling import quantise_rgb, sample_values_by_uv
from dinar_live.runtime import Body, Camera, Pose
from dinar_live.runtime.core.errors import InputError


@pytest.fixture(scope="module")
def body():
    return Body.open()


@pytest.fixture(scope="module")
def assets(body):
    return derive_assets(body)


def test_layout_of_the_open_body(body, assets):
    layout = assets.layout
    np.testing.assert_array_equal(layout.v_inds[layout.faces], body.faces)
    assert set(layout.v_inds) == set(range(len(body.template)))


def test_layout_of_another_body_is_an_error(body):
    uv_faces = body.uv_faces
    with pytest.raises(InputError, match="another body"):
        match_layout(body.faces, uv_faces[:-1], body.uv)
    with pytest.raises(InputError, match="disagree"):
        match_layout(body.faces, np.roll(uv_faces, 1, 0), body.uv)
    with pytest.raises(InputError, match="disagree"):
        match_layout(body.faces, uv_faces[:, [1, 2, 0]], body.uv)
    swapped = body.faces.copy()
    swapped[[5, 900]] = swapped[[900, 5]]
    with pytest.raises(InputError, match="of .* faces disagree"):
        match_layout(swapped, uv_faces, body.uv)
    with pytest.raises(InputError, match="indices"):
        match_layout(body.faces, uv_faces, body.uv[:-1])
    with pytest.raises(InputError, match="outside 0..1"):
        match_layout(body.faces, uv_faces, body.uv * 2)
    with pytest.raises(InputError, match="outside 0..1"):
        match_layout(body.faces, uv_faces, body.uv * np.nan)
    with pytest.raises(InputError, match="whole numbers"):
        match_layout(body.faces, uv_faces.astype(np.float32), body.uv)


def test_unused_texture_vertices_are_harmless(body):
    layout = match_layout(body.faces, body.uv_faces, np.concatenate([body.uv, [[0.5, 0.5]]]))
    assert len(layout.v_inds) == len(body.uv) + 1 and layout.v_inds[-1] == 0


def test_derived_maps(body, assets):
    assert assets.binary_uv.shape == assets.additive_uv.shape == (256, 256) and assets.part_colours.shape == (
        3,
        256,
        256,
    )
    assert (
        0.6 < assets.binary_uv.mean() < 0.7 and len(np.unique(assets.binary_uv)) > 2
    )  # soft island borders, as published
    assert (
        0.02 < (assets.additive_uv > 0).mean() < 0.08
        and (assets.additive_uv <= assets.binary_uv + 0.51).all()
    )
    colours, layout = assets.part_colours, assets.layout
    assert (
        colours.min() >= 0 and colours.max() <= 255 and (colours.max(0) > 40).all()
    )  # nothing is as dark as the background
    column, row = (np.clip((layout.uv * 256).astype(int), 0, 255)).T
    joint = body.weights[layout.v_inds].argmax(1)
    mean = {
        j: colours[:, row[joint == j], column[joint == j]].mean(1) for j in (4, 5, 18, 19, 15)
    }  # knees, elbows, head
    for a in mean:
        for b in mean:
            assert a == b or np.abs(mean[a] - mean[b]).max() > 60, (a, b)
    eyes = (joint == 23) | (joint == 24)
    assert (assets.additive_uv[row[eyes], column[eyes]] > 0).mean() > 0.9


def test_paint_shows_the_texel_centre():
    layout = Layout(
        np.int32([0, 1, 2, 3]), np.int32([[0, 1, 2], [0, 2, 3]]), np.float32([[0, 0], [0, 1], [1, 1], [1, 0]])
    )
    values, hit = paint(layout, layout.uv, 8)
    assert hit.all()
    centres = (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(values[0], np.tile(centres, (8, 1)), atol=1e-5)
    np.testing.assert_allclose(values[1], np.tile(centres[:, None], (1, 8)), atol=1e-5)


@pytest.fixture
def folder(tmp_path, body, assets):
    layout = assets.layout
    np.save(tmp_path / FILES[0], layout.v_inds)
    np.save(tmp_path / FILES[1], layout.faces.astype(np.int64))
    np.save(tmp_path / FILES[2], layout.uv.astype(np.float64))
    grey = np.zeros((1024, 1024, 3), np.uint8)
    grey[:, 512:] = 200, 100, 50  # BGR in the file
    for name in FILES[3:]:
        cv2.imwrite(str(tmp_path / name), grey)
    return tmp_path


def test_a_folder_of_assets(body, assets, folder):
    got = load_assets(folder, body)
    np.testing.assert_array_equal(got.layout.v_inds, assets.layout.v_inds)
    np.testing.assert_allclose(got.layout.uv, assets.layout.uv)
    assert got.binary_uv[0, 0] == 0 and got.binary_uv[0, 200] == np.float32(50) / np.float32(
        255
    )  # the first channel of RGB
    np.testing.assert_array_equal(got.part_colours[:, 0, 200], [50, 100, 200])


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda d: (d / FILES[0]).unlink(), "missing"),
        (lambda d: np.save(d / FILES[0], np.zeros(3, np.int32)), "v_inds"),
        (lambda d: np.save(d / FILES[1], np.zeros((5, 3), np.int32)), "does not belong"),
        (lambda d: np.save(d / FILES[2], np.zeros((9, 3))), "uv.npy"),
        (lambda d: np.save(d / FILES[1], np.roll(np.load(d / FILES[1]), 1, 0)), "does not belong"),
        (lambda d: np.save(d / FILES[0], np.array([{}], object)), "plain numbers"),
        (lambda d: (d / FILES[2]).write_bytes(b""), "uv.npy"),
        (lambda d: (d / FILES[4]).write_text("no"), "not a picture"),
    ],
)
def test_bad_folders(body, folder, change, says):
    change(folder)
    with pytest.raises(InputError, match=says):
        load_assets(folder, body)


# --- the steps together, on the captured people


def view(shared, body, person):
    d = shared / "people" / person / "photo"
    rgb, mask = cv2.imread(str(d / "photo.png"))[..., ::-1], cv2.imread(str(d / "mask.png"), 0)
    fit = read_fit(d / "smplx.npz", mask.shape)
    rig = body.rig(fit.betas)
    return make_sample(np.ascontiguousarray(rgb), mask, fit.projective(rig), fit.camera.K)


def test_a_photo_goes_into_the_texture_and_back(shared, body, assets):
    torch = pytest.importorskip("torch")
    s = view(shared, body, "marco")
    layout = assets.layout
    started = time.perf_counter()
    vertices = np.ascontiguousarray(s.projective[layout.v_inds])
    uv, _ = rasterize_uv(vertices, layout.faces, layout.uv, (512, 512))
    sampled = sample_values_by_uv(
        erode_occlusions(uv, assets.part_colours), quantise_rgb(s.input_rgb), 256, s.segm
    )
    angles = sample_values_by_uv(uv, normal_map(vertices, s.K, layout.faces, (512, 512)), 256, s.segm)
    assert time.perf_counter() - started < 20
    assert 0.25 < sampled.closed.mean() < 0.35 and 0 < sampled.inpaint.mean() < sampled.closed.mean()
    assert not (sampled.closed[0] > 0)[assets.binary_uv < 0.25].mean() > 0.05  # little falls beside the atlas
    assert 150 < angles.values[angles.closed > 0].mean() < 250
    texture = torch.from_numpy(
        np.concatenate([sampled.values / np.float32(255), sampled.closed.astype(np.float32)])
    )[None]
    again = torch.nn.functional.grid_sample(
        texture, torch.from_numpy(uv.transpose(1, 2, 0).copy())[None], align_corners=True
    )[0].numpy()
    shown = (again[3] > 0.999) & (s.segm[0] > 0)
    error = np.abs(again[:3] - (s.input_rgb + 1) / 2)[:, shown]
    assert shown.sum() > 15_000 and -10 * np.log10((error**2).mean()) > 30


def test_an_arm_in_front_is_found_and_a_spread_pose_is_clean(body, assets):
    rig = body.rig()
    layout = assets.layout
    camera = Camera.orbit(rig.joints[0], (512, 512), distance=5.0)

    def outlines(angles):
        fit = Fit(Pose(angles), camera, np.zeros(1, np.float32))
        vertices = np.ascontiguousarray(fit.projective(rig)[layout.v_inds])
        uv, mask = rasterize_uv(vertices, layout.faces, layout.uv, (512, 512))
        return occlusion_outlines(uv, assets.part_colours).sum() / mask.sum()

    spread, crossed = np.zeros((55, 3), np.float32), np.zeros((55, 3), np.float32)
    spread[16, 2], spread[17, 2] = -0.7, 0.7
    crossed[16], crossed[18] = (0, -1.2, -0.9), (0, -1.2, 0)  # the left arm across the chest
    assert outlines(crossed) > 0.02 and outlines(spread) < 0.02 and outlines(crossed) > 3 * outlines(spread)
