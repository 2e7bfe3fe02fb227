"""Avatars from photos: a synthetic person whose true texture is known, the three captured people, and bad
input."""

import cv2
import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.export.fill import components, diffuse, extend
from dinar_live.export.inputs import read_view
from dinar_live.export.projection import feathered, merge_views, project_photos
from dinar_live.export.texture_space import overlap_outlines, texels
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.framing import whole_body_camera

SIZE = (768, 768)


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.open()


@pytest.fixture(scope="module")
def pose() -> Pose:
    angles = np.zeros((55, 3), np.float32)
    angles[16, 2], angles[17, 2] = -0.7, 0.7
    return Pose(angles)


def smooth_texture(rig, size=256):
    """A texture that is a smooth function of the surface point, so that it has no seams."""
    tx = texels(rig, size)
    p = tx.interpolate(rig, rig.model.vertices)
    rgb = 0.5 + 0.4 * np.stack(
        [np.sin(3 * p[..., 0]), np.cos(4 * p[..., 1]), np.sin(2 * p[..., 1] + p[..., 0])], -1
    )
    return extend((rgb * 255).astype(np.uint8), tx.covered)


@pytest.fixture(scope="module")
def photos(body, pose, tmp_path_factory):
    """Front and back pictures of the open body with a known texture, with masks and fits, as files."""
    folder = tmp_path_factory.mktemp("photos")
    truth = Avatar("truth", body.rig(), {"texture": RendererSpec(smooth_texture(body.rig()), samples=2)})
    arguments = []
    with Renderer(truth, SIZE) as r:
        for name, azimuth in (("front", 0.1), ("back", np.pi)):
            camera = whole_body_camera(truth.rig, truth.rig.joints[0], SIZE, azimuth=azimuth)
            rgba = r.render(pose, camera).rgba
            cv2.imwrite(
                str(folder / f"{name}.png"),
                cv2.cvtColor(rgba[..., :3] + (255 - rgba[..., 3:]) // 2, cv2.COLOR_RGB2BGR),
            )
            cv2.imwrite(str(folder / f"{name}_mask.png"), rgba[..., 3])
            np.savez(
                folder / f"{name}.npz",
                poses=pose.body[None],
                transl=pose.transl[None],
                betas=np.zeros(20, np.float32),
                expression=np.zeros((1, 62), np.float32),
                K=camera.K[None],
                world_to_camera=camera.world_to_camera[None],
                image_size=[SIZE[1], SIZE[0]],
            )
            arguments.append([str(folder / f) for f in (f"{name}.png", f"{name}_mask.png", f"{name}.npz")])
    return truth, arguments


def test_a_known_texture_is_recovered(photos, body):
    truth, arguments = photos
    avatar, figures = project_photos([read_view(*a) for a in arguments], body, name="copy", texture_size=512)
    assert figures["seen"] > 0.5
    with Renderer(truth, (384, 384)) as a, Renderer(avatar, (384, 384)) as b:
        for azimuth, limit in (
            (0.1, 3.0),
            (np.pi, 3.0),
            (0.8, 6.0),
            (np.pi / 2, 12.0),
        ):  # mean error in 8-bit steps; the sides are filled in
            camera = whole_body_camera(truth.rig, truth.rig.joints[0], (384, 384), azimuth=azimuth)
            want, got = a.render(Pose(), camera).rgba.astype(int), b.render(Pose(), camera).rgba.astype(int)
            inside = want[..., 3] == 255
            assert np.abs(want - got)[inside].mean() < limit, azimuth
    assert avatar.checks.rgba["texture"].shape == (2, 256, 256, 4)


def test_one_photo_is_enough(photos, body):
    _, arguments = photos
    avatar, figures = project_photos([read_view(*arguments[0])], body, name="one", texture_size=256)
    assert 0.2 < figures["seen"] < 0.5
    assert avatar.renderers["texture"].texture.shape == (256, 256, 3)


@pytest.mark.parametrize("person", ["ada", "marco", "kofi"])
def test_people_look_like_their_photos(shared, body, person):
    d = shared / "people" / person / "photo"
    views = [read_view(d / f"photo{s}.png", d / f"mask{s}.png", d / f"smplx{s}.npz") for s in ("", "_back")]
    avatar, _ = project_photos(views, body, name=person)
    for view in views:
        with Renderer(avatar, view.rgb.shape[:2]) as r:
            rgba = r.render(view.pose, view.camera).rgba
        both = (rgba[..., 3] == 255) & (cv2.erode(view.mask, np.ones((9, 9))) > 0.99)
        error = np.abs(rgba[..., :3].astype(int) - view.rgb)[both].mean()
        assert both.sum() > 50_000 and error < 6, error


def test_dinar_export_writes_a_bundle(photos, tmp_path, capsys):
    _, arguments = photos
    command = ["export", "--out", str(tmp_path / "a.zip"), "--texture-size", "128"]
    for a in arguments:
        command += ["--photo", a[0], "--mask", a[1], "--smplx", a[2]]
    assert main(command) == 0
    assert "of the surface" in capsys.readouterr().out
    assert Avatar.load(tmp_path / "a.zip").name == "a"
    assert main(command) == 2 and "--overwrite" in capsys.readouterr().err
    assert (
        main([*command, "--overwrite", "--photo", arguments[0][0]]) == 2
        and "for each photo, or none" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda z: z.pop("K"), "K"),
        (lambda z: z.update(poses=np.zeros((1, 24, 3))), "Pose.body"),
        (lambda z: z.update(betas=np.full(20, np.nan)), "betas"),
        (lambda z: z.update(poses=np.zeros((2, 55, 3))), "values of one photo"),
        (lambda z: z.update(image_size=[512, 100]), "aspect"),
        (lambda z: z.update(world_to_camera=np.zeros((1, 4, 4))), "world_to_camera"),
        (lambda z: z.update(expression=np.array([{}], dtype=object)), "plain arrays"),
    ],
)
def test_bad_fits(photos, tmp_path, change, says):
    photo, mask, fit = photos[1][0]
    z = dict(np.load(fit))
    change(z)
    np.savez(tmp_path / "bad.npz", **z)
    with pytest.raises(InputError, match=says) as e:
        read_view(photo, mask, tmp_path / "bad.npz")
    assert "bad.npz" in str(e.value)


def test_bad_pictures(photos, tmp_path):
    photo, mask, fit = photos[1][0]
    (tmp_path / "text.png").write_text("no")
    (tmp_path / "empty.png").touch()
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros(SIZE, np.uint8))
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((10, 10), np.uint8))
    for p, m, says in (
        (tmp_path / "absent.png", mask, "no such picture"),
        (tmp_path / "text.png", mask, "not a picture"),
        (tmp_path / "empty.png", mask, "not a picture"),
        (photo, tmp_path / "black.png", "is empty"),
        (photo, tmp_path / "small.png", "10x10"),
    ):
        with pytest.raises(InputError, match=says):
            read_view(p, m, fit)
    with pytest.raises(InputError, match="no such file"):
        read_view(photo, mask, tmp_path / "absent.npz")


def test_photos_that_do_not_show_the_body(photos, body):
    view = read_view(*photos[1][0])
    away = Camera.look_at([0, 0, 5], [9, 0, 5], SIZE)
    with pytest.raises(InputError, match="belong together"):
        project_photos(
            [type(view)(view.name, view.rgb, view.mask, view.pose, away, view.betas)],
            body,
            name="x",
            texture_size=128,
        )


def test_merge_is_a_softmax_over_cosines():
    rgb = np.stack([np.full((1, 1, 3), 0.2), np.full((1, 1, 3), 0.8)])
    merged, confidence = merge_views(rgb, np.array([[[0.9]], [[0.7]]]), np.ones((2, 1, 1)))
    w = np.exp(10 * np.array([0.9, 0.7]))
    np.testing.assert_allclose(merged, (0.2 * w[0] + 0.8 * w[1]) / w.sum(), atol=1e-6)
    merged, confidence = merge_views(rgb, np.array([[[0.9]], [[0.7]]]), np.array([[[0.0]], [[0.4]]]))
    assert merged == pytest.approx(0.8) and confidence[0, 0] == 0.4


def test_overlap_outlines_are_depth_steps_inside_the_silhouette():
    depth = np.zeros((20, 20), np.float32)
    depth[4:16, 4:16] = 3.0
    depth[4:16, 10:16] = 2.5
    found = overlap_outlines(depth)
    assert found[8, 9] and found[8, 10] and not found[8, 5] and not found[8, 15] and not found[0, 0]


def test_feather_rises_inwards_and_ignores_island_borders():
    covered = np.zeros((40, 40), bool)
    covered[:, :20] = True
    valid = covered.copy()
    valid[:10] = False
    w = feathered(valid, covered, 5)
    assert not w[:10].any() and w[10, 10] < 0.2 and w[30, 19] == 1 and not w[:, 20:].any()


def test_diffusion_is_harmonic_between_what_is_known():
    n = 9  # a strip of triangles, known at both ends
    vertices = np.arange(2 * n).reshape(n, 2)
    faces = np.concatenate(
        [[[a, b, c], [b, d, c]] for (a, b), (c, d) in zip(vertices, vertices[1:], strict=False)]
    ).reshape(-1, 3)
    colour, confidence = np.zeros((2 * n, 1)), np.zeros(2 * n)
    colour[-2:], confidence[[0, 1, -2, -1]] = 1.0, 1.0
    value = diffuse(faces, colour, confidence)[:, 0].reshape(n, 2).mean(1)
    assert np.all(np.diff(value) > 0) and value[0] == 0 and value[-1] == 1
    np.testing.assert_allclose(np.diff(value, 2)[1:-1], 0, atol=0.02)


def test_components_and_extension():
    assert components(np.array([[0, 1, 2], [3, 4, 5], [5, 4, 6]]), 8).tolist() == [0, 0, 0, 3, 3, 3, 3, 7]
    image, covered = np.zeros((5, 5, 1)), np.zeros((5, 5), bool)
    image[2, 2], covered[2, 2] = 7, True
    assert (extend(image, covered) == 7).all()
