"""The completion network: atlas, features, batches, training that resumes, the ONNX file, outlines."""

import cv2
import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.export.completion import features as ft
from dinar_live.export.completion.atlas import Atlas
from dinar_live.export.completion.outline import MovedBody, outlined
from dinar_live.export.completion.surface import Field, with_hanging_weights
from dinar_live.export.inputs import View
from dinar_live.export.projection import project_photos
from dinar_live.export.texture_space import vertex_normals
from dinar_live.runtime import Body, Pose
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.framing import whole_body_camera

SIZE = 64


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.open()


@pytest.fixture(scope="module")
def rig(body):
    return body.rig(np.zeros(10, np.float32))


@pytest.fixture(scope="module")
def atlas(rig) -> Atlas:
    return Atlas(rig, SIZE)


def grown_view(rig, pose, grow=0.03, size=(256, 256)) -> View:
    """A grey photo of a body grown by some metres along its normals."""
    camera = whole_body_camera(rig, rig.joints[0], size)
    v = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)
    v = v + grow * vertex_normals(v, rig.faces)
    raster = kernels.rasterize(kernels.project(v, camera.matrix)[0], rig.faces, size)
    mask = (raster.triangle_id >= 0).astype(np.float32)
    rgb = np.repeat((mask * 120)[..., None], 3, 2).astype(np.uint8)
    return View("grown", rgb, mask, pose, camera, np.zeros(10, np.float32))


def a_pose() -> Pose:
    angles = np.zeros((55, 3), np.float32)
    angles[16, 2], angles[17, 2] = -0.7, 0.7
    return Pose(angles)


def test_the_mirror_of_the_mirror_is_near(atlas, rig):
    place = atlas.at(rig.model.vertices)
    mirrored = place[atlas.mirror] * (-1, 1, 1)
    assert np.median(np.linalg.norm(mirrored - place, axis=1)) < 0.01


def test_fast_normals_are_the_normals(atlas, rig):
    np.testing.assert_allclose(
        atlas.normals(rig.model.vertices), vertex_normals(rig.model.vertices, rig.faces), atol=1e-5
    )


def test_planes_hold_texels(atlas):
    values = np.random.default_rng(0).random((len(atlas), 2)).astype(np.float32)
    np.testing.assert_array_equal(atlas.texels_of(atlas.plane(values)), values)


def test_features_see_a_front_and_how_far_the_person_reaches(atlas, rig):
    pose = a_pose()
    view = grown_view(rig, pose)
    picture = ft.premultiply(np.dstack([view.rgb, (view.mask * 255).astype(np.uint8)]))
    f = ft.texel_features(atlas, rig, pose, view.camera.matrix, picture)
    assert f.shape == (len(atlas), ft.OWN) and np.isfinite(f).all()
    visible, cosine, reach = f[:, ft.SEEN - 3], f[:, ft.SEEN - 4], f[:, ft.SEEN - 1] / 4
    assert 0.2 < visible.mean() < 0.6 and (cosine[visible > 0] > 0).all()
    rim = (
        (np.abs(cosine) < 0.15) & (rig.model.skin_weight.max() > 0) & (atlas.at(rig.model.vertices)[:, 1] < 0)
    )
    assert 0.02 < np.median(reach[rim]) < 0.06
    planes = ft.input_planes(atlas, f[None])
    assert planes.shape == (1, ft.PLANES, SIZE, SIZE)
    twice = ft.mirrored(atlas, ft.mirrored(atlas, f))
    assert np.median(np.abs(twice - f)) < 1e-3


def test_a_field_is_smooth_and_keeps_hands(rig, atlas):
    field = Field(rig, atlas)
    target = np.tile([0.0, 0.0, 0.02], (len(rig.model.vertices), 1))
    moved = field.smoothed(target, atlas.skin_vertex.astype(float))
    assert abs(np.median(moved[:, 2]) - 0.02) < 2e-3
    assert np.abs(moved[~atlas.skin_vertex]).max() < 2e-3
    plane = atlas.plane(atlas.at(rig.model.vertices))
    skin = atlas.skin_vertex
    assert np.median(np.abs(field.at_vertices(plane)[skin] - rig.model.vertices[skin])) < 0.01


def test_skirts_follow_both_legs(rig):
    draped = (rig.model.vertices[:, 1] < -0.6) & (np.abs(rig.model.vertices[:, 0]) < 0.3)
    hanging = with_hanging_weights(rig, np.zeros_like(rig.model.vertices), draped.astype(float))
    np.testing.assert_allclose(hanging.model.skin_weight.sum(1), 1, atol=1e-5)
    inner = draped & (np.abs(rig.model.vertices[:, 0]) < 0.04)
    shares = [
        np.where(hanging.model.skin_index[inner] == j, hanging.model.skin_weight[inner], 0).sum(1)
        for j in (1, 2)
    ]
    assert all(s.mean() > 0.1 for s in shares)
    outside = ~draped
    pose = np.zeros((55, 3), np.float32)
    pose[1, 0] = -0.5
    a, b = (
        kernels.lbs(r.model, pose, np.zeros(3, np.float32), np.zeros(0, np.float32)) for r in (rig, hanging)
    )
    np.testing.assert_allclose(a[outside], b[outside], atol=1e-5)


def test_the_mesh_moves_to_a_mask(body, rig):
    view = grown_view(rig, a_pose())
    moved = outlined([view], body)
    assert isinstance(moved, MovedBody) and moved.kind == body.kind
    person = view.mask > 0.5
    overlap = []
    for r in (rig, moved.rig()):
        v = kernels.lbs(r.model, view.pose.body, view.pose.transl, view.pose.expression)
        drawn = (
            kernels.rasterize(kernels.project(v, view.camera.matrix)[0], r.faces, view.mask.shape).triangle_id
            >= 0
        )
        overlap.append(np.count_nonzero(drawn & person) / np.count_nonzero(drawn | person))
    assert overlap[1] > 0.92 > overlap[0] + 0.1, overlap  # hands stay bare
    avatar, _ = project_photos([view], moved, name="grown", texture_size=128)
    np.testing.assert_array_equal(avatar.rig.model.vertices, moved.rig().model.vertices)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, body):
    """Two shards of three made-up photos of the bare body each."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    rig = body.rig(np.zeros(20, np.float32))
    n, V = len(Atlas(rig, SIZE)), len(rig.model.vertices)
    for number in (0, 1):
        view = grown_view(rig, a_pose(), size=(96, 96))
        rgba = np.dstack([rng.integers(0, 256, (96, 96, 3), np.uint8), (view.mask * 255).astype(np.uint8)])
        png = [cv2.imencode(".png", rgba)[1].ravel()] * 3
        np.savez(
            folder / f"shard_{number:06d}.npz",
            style=np.array([0, 0, 1], np.int32), betas=np.zeros((1, 20), np.float32), draped=np.zeros((1, V), bool),
            offset=rng.normal(0, 0.01, (1, V, 3)).astype(np.float16), geometry=np.zeros(3, np.int32),
            colour=rng.integers(0, 256, (3, n, 3), np.uint8),
            pose=np.stack([view.pose.body] * 3), transl=np.stack([view.pose.transl] * 3),
            expression=np.zeros((3, 62), np.float32), matrix=np.stack([view.camera.matrix] * 3),
            png=np.concatenate(png), png_end=np.cumsum([len(p) for p in png]),
        )  # fmt: skip
    return folder


def tiny(train, **more):
    return train.Settings(steps=6, finish=2, batch=2, width=8, size=SIZE, check_every=100, **more)


def test_training_resumes_bit_for_bit(shards, tmp_path):
    torch = pytest.importorskip("torch")
    from dinar_live.export.completion import train

    whole = train.Trainer([shards], tmp_path / "whole", tiny(train))
    whole.train()
    part = train.Trainer([shards], tmp_path / "part", tiny(train))
    while part.step < 3:
        part._step(part.batches.batch(part.step))
        part.step += 1
    part.save()
    rest = train.Trainer([shards], tmp_path / "part", tiny(train))
    assert rest.step == 3
    rest.train()
    for name, value in whole.average.items():
        assert torch.equal(value, rest.average[name]), name


def test_new_shards_wait_for_the_next_epoch(shards, tmp_path, atlas, body):
    from dinar_live.export.completion.data import Batches, People

    people = People([shards], atlas, body)
    batches = Batches(people, 2, 0, tmp_path / "plan.json")
    assert [batches.place(s) for s in (0, 2, 3)] == [(0, 0), (0, 2), (1, 0)]
    first = batches.batch(1)
    again = Batches(people, 2, 0, tmp_path / "plan.json").batch(1)
    np.testing.assert_array_equal(first.planes, again.planes)
    np.testing.assert_array_equal(first.colour, again.colour)
    with pytest.raises(InputError, match="no shards"):
        Batches(People([tmp_path], atlas, body), 2, 0).batch(0)


def test_the_onnx_file_is_the_network(tmp_path, body):
    torch = pytest.importorskip("torch")
    from dinar_live.export.completion.network import CompletionNetwork
    from dinar_live.export.completion.predict import SIZE as T
    from dinar_live.export.completion.predict import Completer
    from dinar_live.export.completion.write_onnx import onnx_bytes

    torch.manual_seed(0)
    network = CompletionNetwork(8).eval()
    with torch.no_grad():
        for p in network.parameters():
            p += 0.02 * torch.randn_like(p)
    file = tmp_path / "completion.onnx"
    file.write_bytes(onnx_bytes(network))
    completer = Completer(file, body, threads=1)
    planes = np.random.default_rng(0).random((1, ft.PLANES, T, T), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(planes))
    for name, value in completer.run(planes).items():
        np.testing.assert_allclose(value, expected[name].numpy(), atol=0.02, rtol=0.01, err_msg=name)
    view = grown_view(completer.rig, a_pose())
    avatar, figures = completer.complete([view], name="grown", texture_size=128)
    assert avatar.renderers["texture"].texture.shape == (128, 128, 3)
    assert 0.1 < figures["seen by grown"] == figures["seen"] < 0.7


def test_pairs_are_photos_of_one_style(shards, atlas, body):
    from dinar_live.export.completion.data import People

    people = People([shards], atlas, body, pairs=True)
    seconds = [people.sample(0, 0, (k,), 0.0).other for k in range(20)]
    assert {s is None for s in seconds} == {True, False}
    assert people.sample(0, 2, (0,)).other is None  # alone in its style
    paired = next(k for k, s in enumerate(seconds) if s is not None)
    samples = [people.sample(0, 0, (paired,), 0.0), people.sample(0, 2, (0,), 0.0)]
    planes = people.batch(samples, np.array([False, True])).planes
    assert planes.shape[1] == ft.planes_of(2)
    assert planes[0, -1].max() == 1 and not planes[1, ft.PLANES :].any()
    at = atlas.texels_of(planes[0])
    np.testing.assert_array_equal(at[:, ft.PLANES : -1], samples[0].other[:, : ft.SEEN].astype(np.float32))
    turned = people.batch(samples, np.array([True, False])).planes[0]
    cosine = atlas.texels_of(turned)[:, ft.PLANES + ft.SEEN - 4]
    np.testing.assert_allclose(cosine, at[atlas.mirror, ft.PLANES + ft.SEEN - 4], atol=1e-3)


def test_trained_weights_start_a_network_of_two_photos(tmp_path, shards):
    torch = pytest.importorskip("torch")
    from dinar_live.export.completion import start, train, weights
    from dinar_live.export.completion.network import CompletionNetwork

    shipped = start.read(weights.FOLDER / weights.MODEL)
    width = len(shipped["enter.bias"])
    one, two = CompletionNetwork(width, 1), CompletionNetwork(width, 2)
    one.load_state_dict(start.adapted(shipped, one))
    two.load_state_dict(start.adapted(shipped, two))
    x = torch.rand(1, ft.planes_of(2), SIZE, SIZE)
    x[:, ft.PLANES :] = 0
    with torch.no_grad():
        a, b = one(x[:, : ft.PLANES]), two(x)
        other = two(x + torch.nn.functional.pad(torch.ones(1, ft.OTHER, 1, 1), (0, 0, 0, 0, ft.PLANES, 0)))
    for name in ("free", "offset", "error", "drape"):
        torch.testing.assert_close(a[name], b[name])
        torch.testing.assert_close(a[name], other[name])  # the second photo is not looked at yet
    assert (a["weights"][:, :12] - b["weights"][:, :12]).abs().max() < 1e-3
    with pytest.raises(InputError, match="does not fit"):
        start.adapted(shipped, CompletionNetwork(8, 2))
    with pytest.raises(InputError, match="not an ONNX file"):
        (tmp_path / "x.onnx").write_bytes(b"no")
        start.read(tmp_path / "x.onnx")
    first = train.Trainer([shards], tmp_path / "a", tiny(train, pairs=True))
    first.train()
    again = train.Trainer(
        [shards], tmp_path / "b", tiny(train, pairs=True), tmp_path / "a/average.safetensors"
    )
    assert all(torch.equal(p, first.average[n]) for n, p in again.network.named_parameters())


def test_two_views_go_through_a_network_of_two_photos(tmp_path, body):
    torch = pytest.importorskip("torch")
    from dinar_live.export.completion.network import CompletionNetwork
    from dinar_live.export.completion.predict import Completer
    from dinar_live.export.completion.write_onnx import onnx_bytes

    torch.manual_seed(0)
    completer = Completer(onnx_bytes(CompletionNetwork(8, 2).eval()), body, threads=1)
    assert completer.photos == 2
    front = grown_view(completer.rig, a_pose())
    turned = a_pose().body.copy()
    turned[0, 1] = np.pi
    back = grown_view(completer.rig, Pose(turned))
    looks = completer.look([front, back], completer.rig)
    assert [k.other for k in looks] == [1, 0]
    assert [k.other for k in completer.look([front], completer.rig)] == [None]
    avatar, figures = completer.complete([front, back], name="grown", texture_size=128, refine=False)
    assert avatar.renderers["texture"].texture.shape == (128, 128, 3)


def test_full_size_weights_fit_into_8_mb():
    pytest.importorskip("torch")
    from dinar_live.export.completion.network import CompletionNetwork

    assert 2 * sum(p.numel() for p in CompletionNetwork(photos=2).parameters()) < 8e6
