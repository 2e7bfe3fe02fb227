"""DINAR's texture steps: golden numbers, slow references written pixel by pixel, and bad input."""

import importlib.util

import cv2
import numpy as np
import pytest

from dinar_live.export.dinar.blend import poisson_blend, pyramid_blend
from dinar_live.export.dinar.copy_known import copy_input_part, copy_mask
from dinar_live.export.dinar.masks import assemble_texture, texture_mask
from dinar_live.export.dinar.merge import merge_textures, view_weights
from dinar_live.export.dinar.normals import normal_map, vertex_normals
from dinar_live.export.dinar.occlusion import erode_occlusions, occlusion_outlines
from dinar_live.export.dinar.rasterize_uv import rasterize_colours, rasterize_uv
from dinar_live.export.dinar.sampling import SampledTexture, quantise_rgb, sample_values_by_uv
from dinar_live.runtime.core.errors import InputError


def golden(shared, name):
    return np.load(shared / "golden" / f"{name}.npz")


@pytest.fixture(scope="module")
def fill(shared):
    spec = importlib.util.spec_from_file_location("golden_fill", shared / "golden" / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- rasters and normals


def test_rasterizer_golden(shared):
    z = golden(shared, "rasterizer_port")
    uv, mask = rasterize_uv(
        z["verts_projective"].astype(np.float32),
        z["faces"].astype(np.int32),
        z["vertex_uv"].astype(np.float32),
        tuple(int(n) for n in z["hw"]),
    )
    sure = z["near_edge"] == 0
    assert sure.mean() > 0.99
    np.testing.assert_allclose(uv[:, sure], z["uv"][0][:, sure], atol=1e-4)
    np.testing.assert_array_equal(mask[:, sure], z["mask"][0][:, sure])
    assert (uv[:, mask[0] == 0] == -10).all()


def test_faces_that_touch_the_camera_are_left_out():
    v = np.float32([[0, 0, 1], [0, 8, 1], [8, 0, 1], [8, 8, 0]])
    faces = np.int32([[0, 1, 2], [2, 1, 3]])
    picture, mask = rasterize_colours(v, faces, np.ones((4, 1), np.float32), (8, 8))
    assert mask.sum() == picture.sum() and 20 < mask.sum() < 40  # the second one would reach to infinity
    picture, mask = rasterize_colours(v, faces[:1, ::-1], np.ones((4, 1), np.float32), (8, 8))
    assert mask.sum() == 0  # turned away
    picture, mask = rasterize_colours(v, faces[:1], np.full((4, 2), -1, np.float32), (8, 8))
    assert mask.sum() == 0 and not picture.any()  # no channel above zero: not covered


def test_normals_golden(shared):
    z = golden(shared, "normals")
    np.testing.assert_allclose(
        vertex_normals(z["verts_projective"][0], z["K"], z["faces"]), z["normals"][0], atol=1e-5
    )


def test_normal_map_of_a_tilted_square():
    K = np.array([[100, 0, 32], [0, 100, 32], [0, 0, 1.0]])
    x = np.array([[-0.5, -0.5, 2.5], [0.5, -0.5, 3.5], [0.5, 0.5, 3.5], [-0.5, 0.5, 2.5]])  # 45 degrees
    faces = np.int32([[0, 2, 1], [0, 3, 2]])
    picture = normal_map((x @ K.T).astype(np.float32), K, faces, (64, 64))
    assert set(np.unique(picture)) == {0, int(255 * np.sqrt(0.5))} and (picture > 0).sum() > 500
    assert not normal_map((x @ K.T).astype(np.float32), K, faces[:, ::-1], (64, 64)).any()


# --- sampling


def test_sampling_golden(shared):
    z = golden(shared, "sample_values_by_uv")
    for i in range(2):
        for name, segm in (("out", z["segm"][i]), ("noseg", None)):
            got = sample_values_by_uv(z["uv"][i], z["rgb"][i], 32, segm)
            np.testing.assert_array_equal(got.values, z[name + "_rgb"][i])
            np.testing.assert_array_equal(got.closed, z[name + "_mask"][i])
            np.testing.assert_array_equal(got.inpaint, z[name + "_inpaint"][i])
        got = sample_values_by_uv(z["uv"][i], z["rgb"][i][:1], 32, z["segm"][i])
        np.testing.assert_array_equal(got.values, z["gray_rgb"][i])


def slow_sampling(uv, image, size, segm, duplicates):
    """Pixel by pixel; for "last" one pass per offset, as assignments to an indexed array."""
    channels, height, width = image.shape
    eroded = None if segm is None else cv2.erode(segm[0], np.ones((5, 5), np.uint8))
    hits = []
    for i in range(height):
        for j in range(width):
            x, y = (
                min(max(int(np.rint((uv[k, i, j] + np.float32(1)) * np.float32(size / 2))), 0), size - 1)
                for k in (0, 1)
            )
            if (x > 0 or y > 0) and (segm is None or eroded[i, j] > 0):
                if duplicates == "last":
                    if x == 0:
                        x = y = 1
                    if y == 0:
                        x = y = 1
                    if x == size - 1:
                        x = y = size - 2
                    if y == size - 1:
                        x = y = size - 2
                else:
                    x, y = min(max(x, 1), size - 2), min(max(y, 1), size - 2)
                hits.append((y, x, image[:, i, j].astype(np.float64)))
    total, count, direct = np.zeros((size, size, channels)), np.zeros((size, size)), {}
    if duplicates == "last":
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                written = {(y + dy, x + dx): colour for y, x, colour in hits}
                for texel, colour in written.items():
                    total[texel] += colour
                    count[texel] += 1
    else:
        for y, x, colour in hits:
            total[y - 1 : y + 2, x - 1 : x + 2] += colour
            count[y - 1 : y + 2, x - 1 : x + 2] += 1
    direct = {(y, x): colour for y, x, colour in hits}
    values = np.zeros((channels, size, size), np.uint8)
    for y in range(size):
        for x in range(size):
            if count[y, x]:
                values[:, y, x] = direct.get((y, x), total[y, x] / count[y, x]).astype(np.uint8)
    closed = count > 0
    hit = np.zeros((size, size), bool)
    for texel in direct:
        hit[texel] = True
    return values, closed, closed & ~hit


@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize(
    "seed, size, with_segm", [(0, 16, True), (1, 16, False), (2, 8, True), (3, 4, False), (4, 64, True)]
)
def test_sampling_against_loops(seed, size, with_segm, duplicates):
    r = np.random.RandomState(seed)
    uv = r.uniform(-1.02, 1.02, (2, 24, 30)).astype(np.float32)  # to the borders and over
    uv[:, r.rand(24, 30) < 0.3] = -10
    uv[r.randint(2), r.rand(24, 30) < 0.2] = -1
    image = r.randint(0, 256, (3, 24, 30)).astype(np.uint8)
    segm = (
        cv2.dilate((r.rand(24, 30) > 0.97).astype(np.float32), np.ones((9, 9), np.uint8))[None]
        if with_segm
        else None
    )
    got, want = (
        sample_values_by_uv(uv, image, size, segm, duplicates),
        slow_sampling(uv, image, size, segm, duplicates),
    )
    assert want[1].any()
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(g.reshape(w.shape), w)


def test_sampling_of_nothing():
    got = sample_values_by_uv(np.full((2, 8, 8), -10, np.float32), np.zeros((3, 8, 8), np.uint8), 16)
    assert not any(a.any() for a in got)


def test_quantisation_wraps_white_only_when_asked():
    levels = np.float32([-1, 0, 0.999, 1])
    np.testing.assert_array_equal(quantise_rgb(levels), [0, 128, 255, 255])
    np.testing.assert_array_equal(quantise_rgb(levels, wrap_white=True), [0, 128, 255, 0])


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(uv=np.zeros((3, 8, 8), np.float32)), "uv, image"),
        (dict(image=np.zeros((3, 8, 9), np.uint8)), "uv, image"),
        (dict(image=np.zeros((3, 8, 8), np.float32)), "uv, image"),
        (dict(segm=np.zeros((8, 8))), "segm"),
        (dict(texture_size=2), "texture size"),
        (dict(duplicates="first"), "duplicates"),
    ],
)
def test_bad_sampling(change, says):
    arguments = dict(
        uv=np.zeros((2, 8, 8), np.float32),
        image=np.zeros((3, 8, 8), np.uint8),
        texture_size=8,
        segm=None,
        duplicates="last",
    )
    with pytest.raises(InputError, match=says):
        sample_values_by_uv(**(arguments | change))


def test_assembled_texture():
    sampled = SampledTexture(
        np.full((3, 8, 8), 255, np.uint8), np.ones((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8)
    )
    t = assemble_texture(np.full((16, 8, 8), 5, np.float32), sampled)
    assert t.shape == (21, 8, 8) and (t[:16] == 5).all() and (t[16:20] == 1).all() and (t[20] == 0).all()
    assert (texture_mask(t) == 1).all() and texture_mask(t).shape == (1, 8, 8)
    with pytest.raises(InputError, match="texture"):
        assemble_texture(np.zeros((15, 8, 8), np.float32), sampled)


# --- occlusion


def limb_in_front():
    """A body of one colour with a stripe of another across it, by uv: left half of the texture = body, right
    half = stripe."""
    uv = np.full((2, 96, 96), -10, np.float32)
    uv[:, 10:86, 20:76] = -0.5
    uv[0, 40:52, 20:76] = 0.5
    colours = np.full((3, 64, 64), 60, np.float32)
    colours[:, :, 32:] = 220
    return uv, colours


def test_only_outlines_inside_the_body_count():
    uv, colours = limb_in_front()
    found = occlusion_outlines(uv, colours)
    assert found[38:42, 30:60].any(0).all() and found[50:54, 30:60].any(0).all()  # both edges of the stripe
    assert not found[:30].any() and not found[62:].any() and not found[44:48, 30:60].any()
    eroded = erode_occlusions(uv, colours)
    assert (eroded[:, found] == -10).all()
    np.testing.assert_array_equal(eroded[:, ~found], uv[:, ~found])
    colours[:] = 60
    assert not occlusion_outlines(uv, colours).any()


def test_occlusion_step_by_step():
    """The same from its definition, with the lookup written out."""
    uv, colours = limb_in_front()
    r = np.random.RandomState(0)
    colours = cv2.GaussianBlur(r.uniform(0, 255, (64, 64, 3)).astype(np.float32), (0, 0), 1.5)
    colours = np.clip((colours - 127) * 5 + 127, 1, 255).transpose(2, 0, 1).astype(np.float32)
    y, x = np.mgrid[0:96, 0:96]
    inside = uv[0] > -2
    uv = np.where(inside, np.stack([x / 60 - 0.8, y / 60 - 0.8]), -10).astype(np.float32)
    drawn = np.zeros((96, 96, 3), np.uint8)
    for i, j in zip(*np.nonzero(inside), strict=True):
        px, py = (uv[0, i, j] + 1) * 32 - 0.5, (uv[1, i, j] + 1) * 32 - 0.5
        value = np.zeros(3)
        for ty in (int(np.floor(py)), int(np.floor(py)) + 1):
            for tx in (int(np.floor(px)), int(np.floor(px)) + 1):
                if 0 <= tx < 64 and 0 <= ty < 64:
                    value += colours[:, ty, tx] * (1 - abs(px - tx)) * (1 - abs(py - ty))
        drawn[i, j] = value
    edges = cv2.Canny(drawn, 150, 200)
    contours, _ = cv2.findContours(
        (drawn.max(2) > 0).astype(np.uint8) * 255, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE
    )
    want = cv2.dilate(cv2.drawContours(edges.copy(), contours, -1, 0, 2), np.ones((5, 5), np.uint8)) > 0
    got = occlusion_outlines(uv, colours)
    assert (
        want.mean() > 0.01 and (got != want).mean() < 2e-3
    )  # rounding of the lookup may move a colour by one level


# --- merging, copying, blending


def test_merge_golden(shared, fill):
    for n, name in ((2, "two"), (3, "three")):
        textures = np.stack([fill.rand(100 + i, 1, 21, 16, 16)[0] for i in range(n)])
        angles = np.stack([fill.rand01(110 + i, 1, 1, 16, 16)[0] for i in range(n)])
        np.testing.assert_allclose(
            merge_textures(textures, angles), golden(shared, "merge")[name][0], atol=1e-5
        )


def test_merge_against_loops():
    r = np.random.RandomState(3)
    textures, angles = r.randn(3, 21, 4, 4), r.rand(3, 1, 4, 4)
    angles[:, :, 0] = 0
    got = merge_textures(textures, angles)
    for y in range(4):
        for x in range(4):
            e = [np.exp(10 * angles[k, 0, y, x]) for k in range(3)]
            np.testing.assert_allclose(
                got[:, y, x],
                sum(e[k] * textures[k, :, y, x] for k in range(3)) / sum(e),
                rtol=1e-5,
                atol=1e-6,
            )
    np.testing.assert_allclose(got[:, 0], textures[:, :, 0].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(view_weights(angles).sum(0), 1, rtol=1e-6)
    with pytest.raises(InputError, match="normal angles"):
        merge_textures(textures, angles[:2])


def slow_copy_mask(closed, binary):
    """Erosion and mean written out: truncated to bytes, border not eroding, mirrored without repeating the
    edge, rounded half up."""
    n = len(closed)
    m = closed if binary is None else np.clip(closed + 1 - binary, 0, 1)
    m = (m.astype(np.float32) * 255).astype(np.uint8).astype(int)
    mirror = lambda i: -i if i < 0 else 2 * (n - 1) - i if i >= n else i  # noqa: E731
    eroded, out = np.zeros((n, n), int), np.zeros((n, n), np.float32)
    for y in range(n):
        for x in range(n):
            eroded[y, x] = m[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].min()
    for y in range(n):
        for x in range(n):
            total = sum(eroded[mirror(y + dy), mirror(x + dx)] for dy in (-1, 0, 1) for dx in (-1, 0, 1))
            out[y, x] = np.float32(round(total / 9)) / np.float32(255)
    return out if binary is None else np.clip(out - (1 - binary.astype(np.float32)), 0, 1)


@pytest.mark.parametrize("with_binary", [False, True])
def test_copy_mask_against_loops(with_binary):
    r = np.random.RandomState(5)
    closed = cv2.dilate((r.rand(32, 32) > 0.93).astype(np.float32), np.ones((5, 5), np.uint8))
    closed[:4] = r.rand(4, 32)  # merged views make fractional masks
    binary = (
        cv2.blur(cv2.dilate((r.rand(32, 32) > 0.9).astype(np.float32), np.ones((7, 7), np.uint8)), (2, 2))
        if with_binary
        else None
    )
    got = copy_mask(closed, binary)
    np.testing.assert_array_equal(got, slow_copy_mask(closed, binary))
    assert 0.05 < got.mean() < 0.95


def test_copy_input_part_copies_all_channels():
    r = np.random.RandomState(6)
    decoded, source, m = (
        r.randn(21, 8, 8).astype(np.float32),
        r.randn(21, 8, 8).astype(np.float32),
        r.rand(1, 8, 8).astype(np.float32),
    )
    np.testing.assert_array_equal(copy_input_part(decoded, source, m), (1 - m) * decoded + m * source)
    with pytest.raises(InputError, match="textures and mask"):
        copy_input_part(decoded, source[:3], m)


def test_pyramid_blend_widens_the_seam_and_keeps_what_is_equal():
    left, right = np.full((3, 64, 64), 0.2, np.float32), np.full((3, 64, 64), 0.8, np.float32)
    w = np.zeros((2, 64, 64), np.float32)
    w[0, :, :32] = w[1, :, 32:] = 1
    out = pyramid_blend(np.stack([left, right]), w)
    step = np.abs(np.diff(out[0, 32]))
    assert step.max() < 0.15 and abs(out[0, 32, 0] - 0.2) < 0.03 and abs(out[0, 32, -1] - 0.8) < 0.03
    noise = np.random.RandomState(8).rand(3, 64, 64).astype(np.float32)
    np.testing.assert_allclose(pyramid_blend(np.stack([noise, noise]), w), noise, atol=1e-5)
    np.testing.assert_allclose(pyramid_blend(noise[None, :1], w[:1]), noise[:1], atol=1e-5)
    with pytest.raises(InputError, match="levels"):
        pyramid_blend(noise[None], w[:1], levels=7)
    with pytest.raises(InputError, match="weights"):
        pyramid_blend(noise[None], w)


def test_poisson_blend_solves_the_equation():
    r = np.random.RandomState(9)
    base, source = r.rand(2, 24, 24), r.rand(2, 24, 24) + 3
    inside = np.zeros((24, 24), bool)
    inside[4:20, 3:18] = True
    covered = np.ones((24, 24), bool)
    covered[10:13, 8:24] = False  # a gap of the atlas reaches into the patch
    out = poisson_blend(base, source, inside, covered)
    np.testing.assert_array_equal(
        out[:, ~(inside & covered)], base[:, ~(inside & covered)].astype(np.float32)
    )
    shift = np.where(inside & covered, out - source, np.where(covered, base - source, np.nan))
    for y, x in zip(*np.nonzero(inside & covered), strict=True):
        around = np.stack(
            [
                shift[:, y + dy, x + dx]
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
                if covered[y + dy, x + dx]
            ]
        )
        np.testing.assert_allclose(shift[:, y, x], around.mean(0), atol=2e-3)
    moved = poisson_blend(base, base + 0.5, inside, covered)  # a constant difference vanishes
    np.testing.assert_allclose(moved, base, atol=2e-3)
    alone = poisson_blend(base, source, np.ones((24, 24), bool))
    np.testing.assert_allclose(alone, source, atol=1e-6)
    with pytest.raises(InputError, match="inside"):
        poisson_blend(base, source, inside[:5])
