"""Metrics against independent float64 references and published implementations' values."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from dinar_live import kernels
from dinar_live.export.metrics import Truth, flip_map, ms_ssim, on_white, psnr, ssim
from dinar_live.export.metrics.flicker import Surface, flicker, sample
from dinar_live.export.metrics.pictures import person_box
from dinar_live.runtime import Body, Camera, Pose
from dinar_live.runtime.render.framing import whole_body_camera


@pytest.fixture(scope="module")
def pictures():
    """Two analytic pictures of 190x200: smooth colours with an edge and stripes; the second shifted, darker,
    with a blue patch."""
    y, x = np.mgrid[:190, :200].astype(np.float64)

    def draw(dx, gain):
        u = x + dx
        rgb = np.stack(
            [
                0.5 + 0.4 * np.sin(u / 17),
                0.5 + 0.4 * np.cos(y / 23 + u / 50),
                0.5 + 0.3 * np.sin((u + y) / 9),
            ],
            -1,
        )
        rgb[(u - 100) ** 2 + (y - 90) ** 2 < 50**2] *= 0.5
        rgb[(u // 3 % 2 == 0) & (y > 150)] = (0.9, 0.1, 0.2)
        return np.clip(rgb * gain, 0, 1)

    a, b = draw(0, 1.0), draw(1.5, 0.93)
    b[20:40, 30:70] = (0, 0, 1)
    return a.astype(np.float32), b.astype(np.float32)


def ssim_reference(a, b):
    """Per channel (SSIM, contrast and structure) by the formulas of the paper, weighted sums over windows in
    f64."""
    d = np.arange(-5, 6)
    w = np.exp(-(d[:, None] ** 2 + d[None] ** 2) / (2 * 1.5**2))
    w /= w.sum()
    out = []
    for c in range(a.shape[2]):
        x, y = a[..., c].astype(np.float64), b[..., c].astype(np.float64)
        mx, my, xx, yy, xy = (convolve2d(v, w, mode="valid") for v in (x, y, x * x, y * y, x * y))
        cs = (2 * (xy - mx * my) + 0.03**2) / (xx - mx**2 + yy - my**2 + 0.03**2)
        out.append(((cs * (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)).mean(), cs.mean()))
    return np.array(out).T


def test_ssim_is_the_papers(pictures):
    a, b = pictures
    assert ssim(a, b) == pytest.approx(ssim_reference(a, b)[0].mean(), abs=2e-6)
    assert ssim(a, b) == pytest.approx(
        0.8212574, abs=2e-6
    )  # scikit-image 0.26, Gaussian weights, no sample covariance
    assert ssim(a, a) == pytest.approx(1, abs=1e-6) and ssim(a, 1 - a) < 0.2


def test_ssim_is_exact_where_pictures_are_flat():
    a, b = (np.full((176, 176, 3), v, np.float32) for v in (1.0, 0.5))
    luminance = (2 * 0.5 + 1e-4) / (1.25 + 1e-4)
    assert ssim(a, b) == pytest.approx(luminance, abs=1e-6)
    assert ms_ssim(a, b) == pytest.approx(luminance**0.1333, abs=1e-6)


@pytest.mark.parametrize("crop", [(190, 200), (177, 189)])  # the second has odd sizes on the way down
def test_ms_ssim_is_the_papers(pictures, crop):
    a, b = (p[: crop[0], : crop[1]].astype(np.float64) for p in pictures)
    expected, got = 1.0, ms_ssim(*(p[: crop[0], : crop[1]] for p in pictures))
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:  # low-pass 2x2, then every second pixel
            low = np.full((2, 2), 0.25)
            padded = (np.pad(p, ((0, 1), (0, 1), (0, 0)), mode="edge") for p in (a, b))
            a, b = (
                np.stack([convolve2d(p[..., c], low, "valid")[::2, ::2] for c in range(3)], -1)
                for p in padded
            )
        expected = expected * np.maximum(ssim_reference(a, b)[0 if scale == 4 else 1], 0) ** weight
    assert got == pytest.approx(expected.mean(), abs=3e-6)


def test_metrics_refuse_what_does_not_fit(pictures):
    a, b = pictures
    with pytest.raises(ValueError, match="at least 176"):
        ms_ssim(a[:175], b[:175])
    with pytest.raises(ValueError, match="at least 11"):
        ssim(a[:10], b[:10])
    with pytest.raises(ValueError, match="twice the same"):
        flip_map(a, b[:-1])


def test_flip_agrees_with_the_authors_implementation(pictures):
    """Values of flip-evaluator 1.7 (BSD-3), LDR."""
    a, b = pictures
    assert flip_map(a, b).mean(dtype=np.float64) == pytest.approx(0.2777742, abs=1e-5)
    assert flip_map(b, a, ppd=30.0).mean(dtype=np.float64) == pytest.approx(0.2979932, abs=1e-5)

    def flat(*colour):
        return np.full((32, 32, 3), colour, np.float32)

    assert flip_map(flat(0, 0, 0), flat(1, 1, 1)).mean() == pytest.approx(0.9673954, abs=2e-5)
    assert flip_map(flat(0, 1, 0), flat(0, 0, 1)).mean() == pytest.approx(1.0, abs=1e-5)
    assert flip_map(a, a).max() == 0


@pytest.mark.parametrize("ppd", [67.0, 30.0])
def test_flip_agrees_with_the_authors_program_in_every_pixel(pictures, ppd):
    program = pytest.importorskip("flip_evaluator")  # BSD-3; not needed for anything but this
    theirs, mean, _ = program.evaluate(*pictures, "LDR", applyMagma=False, parameters={"ppd": ppd})
    ours = flip_map(*pictures, ppd=ppd)
    np.testing.assert_allclose(ours, theirs.reshape(*ours.shape, -1)[..., 0], atol=1e-4)
    assert ours.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-5)


def test_psnr_of_a_known_error():
    a = np.full((20, 20, 3), 0.5, np.float32)
    assert psnr(a, a + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    assert psnr(a, a) == 99.0


def person(size=(300, 400), box=(slice(50, 250), slice(100, 280)), colour=(200, 40, 90)):
    rgba = np.zeros((*size, 4), np.uint8)
    rgba[box] = (*colour, 255)
    return rgba


def test_straight_and_premultiplied_pictures_compare_alike():
    straight = person()
    straight[60:90, 120:200, 3] = 100
    multiplied = straight.copy()
    multiplied[..., :3] = np.round(straight[..., :3] * (straight[..., 3:] / 255.0))
    assert np.abs(on_white(straight, False) - on_white(multiplied, True)).max() <= 0.5 / 255 + 1e-6
    c = Truth(straight).compare(multiplied)
    assert c.scores.psnr > 60 and c.scores.alpha_iou == 1


def test_scores_count_the_persons_box_with_its_border():
    truth, other = person(), person()
    assert person_box(truth[..., 3]) == (slice(40, 260), slice(90, 290))
    assert person_box(truth[..., 3] // 2) is None
    c = Truth(truth).compare(other)
    assert c.truth.shape == (220, 200, 3) and c.scores.psnr == 99
    other[45:47, 100:200] = (0, 0, 0, 255)  # black on the border: counts
    error = 2 * 100 / (220 * 200)
    assert Truth(truth).compare(other).scores.psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)
    other = person()
    other[:30] = (0, 0, 0, 255)  # outside: counts for nothing but IoU
    scores = Truth(truth).compare(other).scores
    assert scores.psnr == 99 and scores.alpha_iou == pytest.approx(200 * 180 / (200 * 180 + 30 * 400))


def test_a_small_person_is_padded_with_white_and_the_edge_of_the_picture_holds():
    truth = person(box=(slice(0, 60), slice(380, 400)))
    c = Truth(truth).compare(np.zeros_like(truth))
    assert c.truth.shape == (176, 176, 3)  # of 70 x 30 in the picture
    assert c.truth[0, 0].tolist() == [1, 1, 1] and c.truth[60, 90].tolist() != [1, 1, 1]
    assert c.scores.alpha_iou == 0
    assert c.scores.psnr == pytest.approx(-10 * np.log10(np.mean((c.truth - 1.0) ** 2)), abs=1e-4)
    with pytest.raises(ValueError, match="nobody"):
        Truth(np.zeros((50, 50, 4), np.uint8))


@pytest.fixture(scope="module")
def rig():
    return Body.open().rig()


class Painted:
    """A renderer that paints the whole picture in one grey per frame."""

    def __init__(self, rig, size, greys):
        self.avatar, self.size, self._greys = type("Avatar", (), {"rig": rig}), size, iter(greys)

    def render(self, pose, camera):
        grey = next(self._greys)
        return type("Frame", (), {"rgba": np.full((*self.size, 4), (grey, grey, grey, 255), np.uint8)})


def test_flicker_of_a_known_change(rig):
    size = (128, 128)
    poses = [(Pose(transl=[0.03 * k, 0, 0]), whole_body_camera(rig, rig.joints[0], size)) for k in range(4)]
    assert flicker(Painted(rig, size, [100, 100, 100, 100]), poses) == pytest.approx(0, abs=1e-4)
    assert flicker(Painted(rig, size, [100, 106, 103, 103]), poses) == pytest.approx(3, abs=1e-4)
    assert np.isnan(flicker(Painted(rig, size, [100]), poses[:1]))


def test_surface_points_are_found_in_the_other_frame(rig):
    """Every pixel's point, computed from the posed body in f64, lands where `seen_in` says, and what is
    hidden there is left out."""
    size = (256, 256)
    body = np.zeros((55, 3), np.float32)
    body[16, 2] = -0.8
    first = Pose(), Camera.orbit(rig.joints[0], size, azimuth=0.0)
    second = Pose(body, [0.1, 0, 0]), Camera.orbit(rig.joints[0], size, azimuth=0.3)
    a, b = Surface(rig, *first, size), Surface(rig, *second, size)
    rows, columns, xy = b.seen_in(a)
    vertices = kernels.lbs(rig.model, first[0].body, first[0].transl, first[0].expression).astype(np.float64)
    point = np.einsum(
        "nk,nkc->nc",
        b.raster.barycentrics[rows, columns].astype(np.float64),
        vertices[rig.faces[b.raster.triangle_id[rows, columns]]],
    )
    projected = point @ first[1].matrix[:, :3].T + first[1].matrix[:, 3]
    np.testing.assert_allclose(xy, projected[:, :2] / projected[:, 2:], atol=2e-3)
    seen = np.count_nonzero(b.raster.triangle_id >= 0)
    assert 0.5 * seen < len(rows) < 0.97 * seen  # the side that turned into view is not in the first frame
    back = Surface(rig, Pose(), Camera.orbit(rig.joints[0], size, azimuth=np.pi), size)
    assert len(back.seen_in(a)[0]) < 0.02 * seen


def test_samples_are_bilinear():
    y, x = np.mgrid[:8, :9] + 0.5
    image = np.stack([2 * x + 3 * y, x], -1)
    at = np.array([[3.0, 4.25], [0.5, 0.5], [7.9, 6.9]])
    np.testing.assert_allclose(sample(image, at), np.stack([2 * at[:, 0] + 3 * at[:, 1], at[:, 0]], -1))
