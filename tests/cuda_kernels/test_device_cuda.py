"""Streams, memory, events and captured graphs."""

import gc
import os
import threading

import numpy as np
import pytest

from dinar_live.kernels import cuda
from dinar_live.kernels.cuda import driver

pytestmark = pytest.mark.gpu
SLACK = (
    0 if os.environ.get("DINAR_EMULATED_CUDA") else 8 << 20
)  # a real driver hands out memory in large pieces


def test_device(device):
    assert (
        device.name
        and device.arch.startswith("sm_")
        and device.memory > 1 << 20
        and device.multiprocessors > 0
    )
    assert device.driver_version >= (12, 0) and device.name in repr(device)
    with pytest.raises(cuda.CudaError, match="there is no GPU 99"):
        cuda.Device(99)


def test_copies(gpu):
    host = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array = gpu.device.upload(host)
    np.testing.assert_array_equal(array.numpy(gpu.stream), host)
    pinned = gpu.device.pinned((2, 3, 4), np.float32)
    assert (pinned == 0).all()
    array.copy_to(pinned, gpu.stream)
    gpu.stream.synchronize()
    np.testing.assert_array_equal(pinned, host)
    part = array.view(16, (2, 4), np.float32)
    part.copy_from(np.ones((2, 4), np.float32), gpu.stream)
    np.testing.assert_array_equal(array.numpy(gpu.stream).ravel(), [0, 1, 2, 3, *[1] * 8, *range(12, 24)])
    assert array.__cuda_array_interface__ == {
        "shape": (2, 3, 4),
        "typestr": "<f4",
        "data": (array.pointer, False),
        "strides": None,
        "version": 3,
    }


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 3), np.float64), np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32).T, [1, 2]],
)
def test_wrong_host_arrays(gpu, wrong):
    array = gpu.device.empty((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"expected a C-contiguous array of float32 \(2, 3\)"):
        array.copy_from(wrong, gpu.stream)
    frozen = np.zeros((2, 3), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        array.copy_to(frozen, gpu.stream)
    for offset, shape in ((-4, (1,)), (2, (1,)), (24, (1,)), (0, (7,))):
        with pytest.raises(ValueError, match="aligned part of 24"):
            array.view(offset, shape, np.float32)


def test_memory_is_given_back(gpu):
    gc.collect()
    gpu.device.synchronize()
    before = gpu.device.free_memory()
    arrays = [gpu.device.empty((16 << 20,), np.uint8) for _ in range(8)]
    assert gpu.device.free_memory() <= before - (128 << 20) + SLACK
    view = arrays[0].view(0, (16,), np.uint8)
    arrays[1].free()
    arrays[1].free()  # twice is once
    del arrays
    gc.collect()
    assert gpu.device.free_memory() <= before - (16 << 20) + SLACK  # the view holds the first one
    del view
    gc.collect()
    assert gpu.device.free_memory() >= before - SLACK


def test_pinned_memory_lives_as_long_as_its_views(gpu):
    view = gpu.device.pinned((64, 64), np.uint8)[3:]
    gc.collect()
    view[:] = 5
    assert (view == 5).all()


def test_memory_may_be_freed_on_a_thread_without_a_context(gpu):
    before = gpu.device.free_memory()
    arrays = [gpu.device.empty((1 << 20,), np.uint8), gpu.device.stream(), gpu.device.event()]
    thread = threading.Thread(target=arrays.clear)
    thread.start()
    thread.join()
    assert gpu.device.free_memory() >= before - SLACK


def test_what_came_from_a_device_keeps_it(gpu):
    array = cuda.Device().upload(np.arange(3))
    gc.collect()
    assert array.numpy(gpu.stream).tolist() == [0, 1, 2]


def test_events(gpu):
    first, second = gpu.device.event(timing=True), gpu.device.event(timing=True, blocking=True)
    array = gpu.device.empty((1 << 16,), np.uint8)
    gpu.stream.record(first)
    array.fill_bytes(1, gpu.stream)
    gpu.stream.record(second)
    second.synchronize()
    assert first.done() and second.done() and 0 <= second.elapsed_ms(first) < 1e4
    other = gpu.device.stream()
    array.fill_bytes(7, gpu.stream)
    other.wait(gpu.stream.record(gpu.device.event()))
    assert (array.numpy(other) == 7).all()


def test_a_stream_of_somebody_else(gpu):
    array = gpu.device.empty((8,), np.uint8)
    other = gpu.device.stream()
    array.fill_bytes(5, gpu.device.existing_stream(other.handle))
    assert (array.numpy(other) == 5).all()
    same = gpu.device.wrap(array.pointer, array.shape, array.dtype)
    assert (same.numpy(gpu.device.existing_stream(other.handle)) == 5).all()


def test_another_thread_makes_the_device_current(gpu):
    results = []

    def work():
        gpu.device.make_current()
        stream = gpu.device.stream()
        results.append(gpu.device.upload(np.arange(5)).numpy(stream))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(results[0], np.arange(5))


class TestGraph:
    def test_replay_follows_its_inputs(self, gpu):
        """A copy from pinned memory, a kernel's work and a copy back: launched again it does it again, with
        what is there then."""
        host, back = gpu.device.pinned((8,), np.int32), gpu.device.pinned((8,), np.int32)
        array = gpu.device.empty((8,), np.int32)
        with gpu.stream.capture() as graph:
            array.copy_from(host, gpu.stream)
            array.view(0, (2,), np.int32).fill_bytes(0, gpu.stream)
            array.copy_to(back, gpu.stream)
        assert graph.nodes == 3
        gpu.stream.synchronize()
        assert (back == 0).all()  # captured, not run
        for value in (3, 9):
            host[:] = value
            graph.launch(gpu.stream)
            gpu.stream.synchronize()
            np.testing.assert_array_equal(back, [0, 0, *[value] * 6])
        graph.close()

    def test_waiting_or_allocating_breaks_a_capture(self, gpu):
        array = gpu.device.empty((8,), np.uint8)
        for wrong in (gpu.stream.synchronize, lambda: gpu.device.empty((8,), np.uint8)):
            with pytest.raises(cuda.CudaError, match="CAPTURE"):
                with gpu.stream.capture():
                    array.fill_bytes(1, gpu.stream)
                    wrong()
            array.fill_bytes(2, gpu.stream)  # the stream is usable again
            assert (array.numpy(gpu.stream) == 2).all()

    def test_a_garbage_collection_cannot_break_a_capture(self, gpu):
        """Device memory in a cycle, found while a capture goes on: freeing it then would invalidate the
        capture."""
        array = gpu.device.empty((8,), np.uint8)
        gc.collect()
        before = gpu.device.free_memory()
        cycle = [gpu.device.empty((1 << 20,), np.uint8)]
        cycle.append(cycle)
        with gpu.stream.capture() as graph:
            del cycle
            _ = [[] for _ in range(200_000)]  # would start collections
            array.fill_bytes(1, gpu.stream)
        assert graph.nodes == 1 and gc.isenabled()
        gc.collect()
        assert gpu.device.free_memory() >= before - SLACK

    def test_embedding_adds_a_child_after_what_is_captured(self, gpu):
        """As torch's session does with its own graph, which is a bare cudaGraph_t."""
        array, other = gpu.device.empty((4,), np.uint8), gpu.device.stream()
        driver.call(
            "cuStreamBeginCapture", other.handle, driver.driver().CUstreamCaptureMode(1)
        )  # of this thread
        array.view(0, (2,), np.uint8).fill_bytes(2, other)
        child = driver.call("cuStreamEndCapture", other.handle)
        with gpu.stream.capture() as graph:
            array.fill_bytes(1, gpu.stream)
            cuda.embed(gpu.stream.handle, int(child))
            array.view(0, (1,), np.uint8).fill_bytes(3, gpu.stream)
        assert graph.nodes == 3
        graph.launch(gpu.stream)
        assert array.numpy(gpu.stream).tolist() == [3, 2, 1, 1]
        with pytest.raises(cuda.CudaError, match="cuGraphAddChildGraphNode"):
            cuda.embed(gpu.stream.handle, int(child))  # nothing is captured
        driver.call("cuGraphDestroy", child)

    def test_an_exception_ends_the_capture_and_goes_on(self, gpu):
        with pytest.raises(KeyError, match="mine"):
            with gpu.stream.capture() as graph:
                raise KeyError("mine")
        with pytest.raises(cuda.CudaError, match="not captured to its end"):
            graph.launch(gpu.stream)
        gpu.stream.synchronize()

    def test_an_empty_graph_is_refused(self, gpu):
        with pytest.raises(cuda.CudaError, match="the captured graph is empty"):
            with gpu.stream.capture():
                pass


def test_a_frame_as_one_graph(gpu, rng):
    """Pose to picture, captured once: replayed for other poses, cameras and windows it equals the eager run,
    and nothing is allocated."""
    from dinar_live.runtime import Body

    rig = Body.open().rig()
    V, E, H, W, views, s = len(rig.model.vertices), rig.expressions, 48, 32, 2, 2
    texture = rng.random((64, 64, 3)).astype(np.float32)
    body = cuda.DeviceBody(gpu.device, rig.model)
    scene = cuda.DeviceScene(gpu.device, V, rig.faces, rig.uv, rig.uv_faces, texture, np.float16)
    p = cuda.FrameParameters(gpu.device, 55, E, views)
    target = cuda.RasterTarget(gpu.device, H * s, W * s, len(rig.faces), views)
    projective = gpu.poisoned((views, V, 3), np.float32)
    features, depth = (
        gpu.poisoned((views, 6, H * s, W * s), np.float16),
        gpu.poisoned((views, H * s, W * s), np.float32),
    )
    rgba, depth_out = gpu.poisoned((views, 64, 64, 4), np.uint8), gpu.poisoned((views, 64, 64), np.float32)
    steps = (
        gpu.program.lbs(body, p, projective)
        + gpu.program.rasterize(scene, p, projective, target, samples=s)
        + gpu.program.gather(scene, p, projective, target, features, depth, samples=s)
        + gpu.program.compose(
            p,
            cuda.Planes.of(features),
            cuda.Planes.of(features, 5),
            rgba,
            depth=depth,
            depth_out=depth_out,
            samples=s,
        )
    )
    picture, distance = (
        gpu.device.pinned(rgba.shape, np.uint8),
        gpu.device.pinned(depth_out.shape, np.float32),
    )

    def frame():
        p.upload(gpu.stream)
        gpu.program.run(gpu.stream, steps)
        rgba.copy_to(picture, gpu.stream)
        depth_out.copy_to(distance, gpu.stream)

    def set_up(k):
        p.host["body"][:] = rng.normal(0, 0.2, (55, 3))
        p.host["transl"][:] = [0.1 * k, 0, 0]
        for v in range(views):
            K, to_camera = (
                np.diag([60.0, 60, 1]),
                np.array([[1, 0, 0, 0.1 * v], [0, -1, 0, 0.9 + 0.05 * k], [0, 0, -1, 3]]),
            )
            K[:2, 2] = 32
            p.host["matrices"][v] = np.diag([s, s, 1.0]) @ K @ to_camera
            p.host["origins"][v] = [16 - k, 8 + k]

    set_up(0)
    frame()
    gpu.stream.synchronize()
    with gpu.stream.capture() as graph:
        frame()
    pictures = []
    for k in range(3):
        set_up(k)
        frame()
        gpu.stream.synchronize()
        want, want_depth = picture.copy(), distance.copy()
        rgba.fill_bytes(0xEE, gpu.stream)
        features.fill_bytes(0xEE, gpu.stream)
        picture[:] = 0
        free = gpu.device.free_memory()
        graph.launch(gpu.stream)
        gpu.stream.synchronize()
        assert gpu.device.free_memory() >= free
        np.testing.assert_array_equal(picture, want)
        np.testing.assert_array_equal(distance, want_depth)
        assert (want[..., 3] > 0).mean() > 0.02 and (want_depth > 0).any()
        pictures.append(want)
    assert (pictures[0] != pictures[1]).any() and (pictures[0][0] != pictures[0][1]).any()
