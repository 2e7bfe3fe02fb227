"""Launch geometry and argument lists, as data, against the kernels' source; layouts; what the verbs refuse.
No driver needed."""

import importlib.util
import pathlib
import types

import numpy as np
import pytest

from dinar_live.kernels import BodyModel, cuda
from dinar_live.kernels.cuda import layout, program, scene
from dinar_live.kernels.cuda.launches import Pointer

spec = importlib.util.spec_from_file_location(
    "emulate_for_signatures", pathlib.Path(__file__).parent / "emulate.py"
)
emulate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(emulate)

C_TYPES = {"int": np.int32, "long long": np.int64, "float": np.float32}


class FakeDevice:
    """Gives out addresses, and counts bytes."""

    multiprocessors = 7

    def __init__(self):
        self.next = 0x1000

    def empty(self, shape, dtype):
        array = cuda.DeviceArray(self.next, shape, dtype)
        self.next += -(-max(array.nbytes, 1) // 256) * 256
        return array

    def upload(self, array):
        return self.empty(array.shape, array.dtype)

    def pinned(self, shape, dtype):
        return np.zeros(shape, dtype)


def body_model(pose_dirs=True, V=70, J=5, E=3):
    f32 = np.float32
    return BodyModel(
        np.zeros((V, 3), f32),
        np.zeros((J, 3), f32),
        np.arange(-1, J - 1, dtype=np.int32),
        np.zeros((V, 2), np.uint16),
        np.tile(np.float32([1, 0]), (V, 1)),
        np.arange(4, dtype=np.int32),
        np.zeros((4, 3, E), f32),
        np.zeros((J, 3, E), f32),
        np.zeros((9 * (J - 1), V, 3), f32) if pose_dirs else None,
    )


@pytest.fixture
def world():
    """Everything of a frame of two views, on a device that does not exist."""
    device = FakeDevice()
    p = object.__new__(cuda.Program)
    p.device = device
    faces = np.arange(300, dtype=np.int32).reshape(-1, 3) % 70
    w = types.SimpleNamespace(
        device=device,
        program=p,
        views=2,
        body=cuda.DeviceBody(device, body_model()),
        parameters=cuda.FrameParameters(device, 5, 3, 2),
        target=cuda.RasterTarget(device, 40, 66, 100, 2),
    )
    w.scene = cuda.DeviceScene(
        device,
        70,
        faces,
        np.zeros((9, 2), np.float32),
        faces % 9,
        np.zeros((8, 6, 5), np.float32),
        np.float16,
    )
    w.projective = device.empty((2, 70, 3), np.float32)
    w.features, w.depth = device.empty((2, 8, 40, 66), np.float16), device.empty((2, 40, 66), np.float32)
    w.rgba, w.depth_out = device.empty((2, 100, 130, 4), np.uint8), device.empty((2, 100, 130), np.float32)
    return w


def frame(w):
    p = w.program
    return (
        p.lbs(w.body, w.parameters, w.projective)
        + p.rasterize(w.scene, w.parameters, w.projective, w.target)
        + p.gather(w.scene, w.parameters, w.projective, w.target, w.features, w.depth)
        + p.compose(
            w.parameters,
            cuda.Planes.of(w.features),
            cuda.Planes.of(w.features, 4),
            w.rgba,
            mask=cuda.Planes.of(w.features, 7),
            depth=w.depth,
            depth_out=w.depth_out,
        )
    )


def smooth(w):
    """The launches for edges."""
    fine = cuda.RasterTarget(w.device, 80, 132, 100, 2)
    return fine, w.program.smooth_edges(
        w.scene, w.parameters, w.projective, w.target, fine, w.features, w.depth, samples=2
    )


def half_frame(w, dtype=np.float16):
    """At half resolution: a scene with two textures."""
    scene = cuda.DeviceScene(
        w.device,
        w.scene.vertices,
        np.zeros((4, 3), np.int32),
        np.zeros((5, 2), np.float32),
        np.zeros((4, 3), np.int32),
        np.zeros((6, 7, 3), np.float32),
        dtype,
        np.zeros((3, 5, 9), np.float32),
    )
    features = w.device.empty((2, 25, 20, 33), dtype)
    correction = w.device.empty((2, 16, 20, 33), dtype)
    w.half = types.SimpleNamespace(scene=scene, features=features, correction=correction)
    planes = cuda.Planes.of(features), cuda.Planes.of(correction)
    return w.program.gather_half(
        scene, w.parameters, w.projective, w.target, features, w.depth
    ) + w.program.compose_half(w.parameters, *planes, w.rgba, depth=w.depth, depth_out=w.depth_out)


def check_arguments(launch):
    signature = emulate.signatures()[launch.kernel]
    assert len(launch.arguments) == len(signature), launch.kernel
    for value, (c_type, name) in zip(launch.arguments, signature, strict=True):
        want = Pointer if c_type.endswith("*") else C_TYPES[c_type]
        assert type(value) is want, (launch.kernel, name, c_type, value)


def named(launch):
    return dict(zip((n for _, n in emulate.signatures()[launch.kernel]), launch.arguments, strict=True))


def test_arguments_have_the_number_and_types_of_the_kernels(world):
    steps = frame(world)
    world.scene.dtype = np.dtype(np.float32)
    world.features = world.device.empty((2, 8, 40, 66), np.float32)
    steps += frame(world)
    world.body = cuda.DeviceBody(world.device, body_model(pose_dirs=False))
    steps += frame(world)
    for dtype in (np.float16, np.float32):
        steps += half_frame(world, dtype)
        world.scene.dtype = np.dtype(dtype)
        world.features = world.device.empty((2, 8, 40, 66), dtype)
        steps += smooth(world)[1]
    for launch in steps:
        check_arguments(launch)
    adapter = object.__new__(cuda.NvdiffrastRasterizer)
    adapter._program, adapter._near, adapter._cull = world.program, 0.01, True
    adapter._torch = types.SimpleNamespace(as_tensor=lambda array, device: array)
    adapter._nvdiffrast = types.SimpleNamespace(RasterizeCudaContext=lambda device: None)
    world.device.index = 0
    steps += adapter._describe(world.scene, world.parameters, world.projective, world.target, 1).before
    steps.append(adapter._pixels(0x1000, 1, world.target))
    for launch in steps[-3:]:
        check_arguments(launch)
    assert {s.kernel for s in steps} == set(program.KERNELS) == set(emulate.signatures())


def test_the_arguments_of_a_half_frame_go_where_their_names_say(world):
    gather, compose = (named(launch) for launch in half_frame(world))
    half = world.half
    for name, array in (
        ("texture", half.scene.texture),
        ("neural", half.scene.neural),
        ("corner_uv", half.scene.corner_uv),
        ("out", half.features),
        ("depth", world.depth),
    ):
        assert gather[name] == array.pointer, name
    got = [gather[n] for n in ("height", "width", "channels", "texture_stride", "neural_stride")]
    assert got == [40, 66, 9, 8, 16]
    got = [gather[n] for n in ("texture_height", "texture_width", "neural_height", "neural_width")]
    assert got == [6, 7, 3, 5]
    for name, array in (
        ("features", half.features),
        ("correction", half.correction),
        ("out", world.rgba),
        ("depth", world.depth),
        ("depth_out", world.depth_out),
    ):
        assert compose[name] == array.pointer, name
    got = [compose[n] for n in ("height", "width", "out_height", "out_width")]
    assert got == [40, 66, 100, 130]
    got = [compose[n] for n in ("features_stride", "correction_stride", "features_half", "correction_half")]
    assert got == [25 * 20 * 33, 16 * 20 * 33, 1, 1]


def test_edges_are_looked_for_in_the_target_and_sampled_in_the_finer_one(world):
    fine, (clear, triangles, tiles, edges) = smooth(world)
    clear, triangles, tiles, a = (named(s) for s in (clear, triangles, tiles, edges))
    smooth_flags = world.parameters.device["smooth"].pointer
    assert clear["enabled"] == triangles["enabled"] == a["enabled"] == smooth_flags
    assert clear["pairs"] == 80 * 132 and clear["views"] == 2
    assert (triangles["scale"], triangles["samples"], tiles["samples"], a["samples"]) == (2, 4, 4, 2)
    assert a["visibility"] == world.target.visibility.pointer and a["fine"] == fine.visibility.pointer
    assert clear["visibility"] == triangles["visibility"] == tiles["visibility"] == a["fine"]
    assert (a["height"], a["width"], a["planes"], a["mask"], a["blocks"]) == (40, 66, 8, 7, 0)
    assert (a["out"], a["depth"]) == (world.features.pointer, world.depth.pointer)
    assert (a["uv_boxes"], a["texture"]) == (world.scene.uv_boxes.pointer, world.scene.texture.pointer)
    assert a["gap"] == np.float32(1 / 8)  # of 8 x 6 texels
    plain = {s.kernel: named(s) for s in frame(world)}
    assert plain["clear_visibility"]["enabled"] == plain["draw_triangles"]["enabled"] == 0
    assert plain["draw_triangles"]["scale"] == 1


def test_every_pointer_goes_where_its_name_says(world):
    by_kernel = {s.kernel: named(s) for s in frame(world)}
    device = world.parameters.device
    pose, skin = by_kernel["pose_joints"], by_kernel["skin_posed_vertices"]
    for name in ("body", "transl", "expression"):
        assert pose[name] == device[name].pointer
    for name in ("rest_joints", "joint_dirs", "order", "parents", "level_start"):
        assert pose[name] == world.body.arrays[name].pointer
    for name in ("rest", "skin_index", "skin_weight", "expression_row", "expression_dirs", "pose_dirs"):
        assert skin[name] == world.body.arrays[name].pointer
    assert (
        pose["columns"] == skin["columns"] == world.body.columns.pointer
        and pose["features"] == skin["features"] != 0
    )
    assert skin["matrices"] == device["matrices"].pointer and skin["vertices_out"] == 0
    draw, gather, compose = by_kernel["draw_triangles"], by_kernel["gather_f16"], by_kernel["compose"]
    assert draw["indices"] == gather["faces"] == world.scene.faces.pointer
    assert draw["origins"] == gather["origins"] == compose["origins"] == device["origins"].pointer
    assert skin["projective"] == draw["projective"] == gather["projective"] == world.projective.pointer
    assert (
        draw["visibility"]
        == gather["visibility"]
        == by_kernel["clear_visibility"]["visibility"]
        == world.target.visibility.pointer
    )
    assert (
        draw["counter"] == by_kernel["draw_tiles"]["counter"]
        and draw["queue"] == by_kernel["draw_tiles"]["queue"]
    )
    assert (
        gather["out"] == compose["rgb"] == world.features.pointer
        and gather["depth"] == compose["depth"] == world.depth.pointer
    )
    assert (
        compose["alpha"] == world.features.pointer + 4 * 40 * 66 * 2
        and compose["mask"] == world.features.pointer + 7 * 40 * 66 * 2
    )
    assert compose["rgb_stride"] == compose["mask_stride"] == 8 * 40 * 66 and compose["rgb_half"] == 1
    assert (gather["channels"], gather["stride"], gather["texture_height"], gather["texture_width"]) == (
        5,
        8,
        8,
        6,
    )


def test_geometry_covers_everything_and_no_limit_is_passed(world):
    for launch in frame(world):
        threads = np.prod(launch.block)
        assert 32 <= threads <= 1024 and threads % 32 == 0, launch.kernel
        assert all(n >= 1 for n in launch.grid) and launch.grid[1] <= 65535 and launch.grid[2] <= 65535
        x, y, z = (g * b for g, b in zip(launch.grid, launch.block, strict=True))
        a = named(launch)
        if launch.kernel in ("gather_f16", "compose"):
            width, height = (
                (a["width"], a["height"])
                if launch.kernel == "gather_f16"
                else (a["out_width"], a["out_height"])
            )
            assert (x >= width > x - launch.block[0]) and (y >= height > y - launch.block[1]) and z == 2
        if launch.kernel == "draw_triangles":
            assert x >= 100 and launch.grid[1] == 2
        if launch.kernel == "clear_visibility":
            assert 2 * x >= 2 * 40 * 66 and a["pairs"] == 40 * 66
        if launch.kernel == "skin_posed_vertices":
            assert (
                launch.block == (24, 16, 1) and launch.grid[0] == 3 == world.body.arrays["pose_dirs"].shape[0]
            )


def test_numbers_shared_with_the_sources():
    text = emulate.compiler.source()
    for line in (
        f"MAX_JOINTS = {layout.MAX_JOINTS};",
        f"GROUP = {layout.GROUP};",
        f"LANES = {layout.LANES};",
        "SPLITS = 16;",
        f"TILE_W = {scene.TILE_W}, TILE_H = {scene.TILE_H};",
        f"TILE_BITS = {scene.TILE_BITS};",
    ):
        assert f"constexpr int {line}" in text
    assert scene.QUEUED_TRIANGLE == 64  # 48 of a GridTriangle, the view, the first tile


def test_frame_parameters_are_one_block(world):
    p = world.parameters
    record = p.host.dtype
    for name, array in p.device.items():
        assert array.pointer == p._block.pointer + record.fields[name][1] and array.pointer % 16 == 0
        assert array.shape == p.host[name].shape and array.dtype == p.host[name].dtype
    p.host["matrices"][1, 2, 3] = 5.0  # a view of the bytes that are copied
    at = record.fields["matrices"][1] + 8 * (12 + 11)
    assert p._bytes[at : at + 8].view(np.float64)[0] == 5.0
    assert layout.parameters_dtype(1, 0, 1).itemsize % 16 == 0


def test_joint_levels():
    order, start = layout.joint_levels(np.array([-1, 0, 1, 0, -1, 3, 2], np.int32))
    assert start.tolist() == [0, 2, 4, 6, 7]
    assert [sorted(order[a:b].tolist()) for a, b in zip(start, start[1:], strict=False)] == [
        [0, 4],
        [1, 3],
        [2, 5],
        [6],
    ]


def test_pose_directions_lie_in_groups():
    model = body_model(V=70)
    model.pose_dirs[:] = np.arange(model.pose_dirs.size).reshape(model.pose_dirs.shape)
    dirs = layout.body_arrays(model)["pose_dirs"]
    assert dirs.shape == (3, 36, 96)
    np.testing.assert_array_equal(dirs[1, 7].reshape(32, 3), model.pose_dirs[7, 32:64])
    np.testing.assert_array_equal(dirs[2, 7, 18:], 0)


def test_skinning_slots_in_use_come_first():
    model = body_model(pose_dirs=False)
    model.skin_weight[5], model.skin_index[5] = [0, 1], [3, 4]
    arrays = layout.body_arrays(model)
    assert arrays["skin_weight"].shape == (2, 70)
    assert arrays["skin_weight"][:, 5].tolist() == [1, 0] and arrays["skin_index"][:, 5].tolist() == [4, 3]


def test_too_many_joints():
    with pytest.raises(ValueError, match="129 joints; the CUDA kernels take up to 128"):
        layout.body_arrays(body_model(pose_dirs=False, J=129))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(faces=np.full((4, 3), 70, np.int32)), "faces spans 70 to 70; expected 0 to 69"),
        (dict(uv_faces=np.full((4, 3), -1, np.int32)), "uv_faces spans -1 to -1"),
        (dict(texture=np.zeros((4, 4, 65), np.float32)), "1 to 64 channels"),
        (dict(texture=np.full((4, 4, 3), 1e5, np.float32)), "beyond fp16"),
        (dict(texture=np.full((4, 4, 3), np.nan, np.float32)), "texture holds NaN"),
        (dict(texture=np.zeros((4, 4, 3))), "texture has dtype float64"),
        (dict(dtype=np.float64), "dtype is float64; expected float16 or float32"),
    ],
)
def test_a_wrong_scene_is_refused(change, message):
    good = dict(
        vertices=70,
        faces=np.zeros((4, 3), np.int32),
        uv=np.zeros((5, 2), np.float32),
        uv_faces=np.zeros((4, 3), np.int32),
        texture=np.zeros((4, 4, 3), np.float32),
        dtype=np.float16,
    )
    layout.scene_arrays(**good)
    with pytest.raises((TypeError, ValueError), match=message):
        layout.scene_arrays(**(good | change))


def test_what_does_not_fit_together_is_refused(world):
    w, p, empty = world, world.program, world.device.empty
    planes = cuda.Planes.of(w.features)
    for call, message in [
        (
            lambda: p.lbs(w.body, w.parameters, empty((1, 70, 3), np.float32)),
            r"projective is float32 \(1, 70, 3\); expected float32 \(2, 70, 3\)",
        ),
        (lambda: p.lbs(w.body, cuda.FrameParameters(w.device, 6, 3, 2), w.projective), "parameters.body"),
        (
            lambda: p.lbs(w.body, w.parameters, w.projective, empty((70, 3), np.float16)),
            "vertices is float16",
        ),
        (
            lambda: p.rasterize(
                w.scene, w.parameters, w.projective, cuda.RasterTarget(w.device, 4, 4, 100, 1)
            ),
            "target has 1 views",
        ),
        (lambda: p.rasterize(w.scene, w.parameters, w.projective, w.target, near=0), "near is 0"),
        (
            lambda: p.gather(
                w.scene, w.parameters, w.projective, w.target, empty((2, 8, 40, 66), np.float32)
            ),
            "features is float32",
        ),
        (
            lambda: p.gather(
                w.scene, w.parameters, w.projective, w.target, w.features, empty((2, 4, 66), np.float32)
            ),
            "depth is",
        ),
        (lambda: p.compose(w.parameters, planes, planes, w.rgba, samples=3), "samples is 3"),
        (
            lambda: p.compose(w.parameters, planes, planes, w.rgba, samples=4),
            "samples is 4 for planes of 40 x 66",
        ),
        (lambda: p.compose(w.parameters, planes, planes._replace(size=(4, 4)), w.rgba), "alpha has planes"),
        (lambda: p.compose(w.parameters, planes, planes, w.depth_out), "rgba is"),
        (lambda: p.compose(w.parameters, planes, planes, w.rgba, depth=w.depth), "belong together"),
        (lambda: p.compose(w.parameters, planes, planes, w.rgba, threshold=float("nan")), "threshold is nan"),
        (lambda: p.compose(w.parameters, planes, planes, w.rgba, background=(0, 2, 0)), "background is"),
        (lambda: cuda.Planes.of(w.rgba), "channel 0 of uint8"),
        (lambda: cuda.Planes.of(w.features, 8), "channel 8 of float16"),
        (lambda: cuda.RasterTarget(w.device, 0, 4, 1), r"size\[0\] is 0"),
        (lambda: cuda.RasterTarget(w.device, 16384, 16384, 400_000), "too many for the rasterizer's queue"),
        (lambda: cuda.FrameParameters(w.device, 5, 3, 0), "views is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
