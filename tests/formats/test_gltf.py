"""The reader of glTF against files that lie, in small files made here."""

import base64
import json
import os
import struct

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.formats.gltf import Gltf, GltfError
from dinar_live.runtime.motion.gltf_motion import load_gltf

VALUES = np.arange(12, dtype="<f4").reshape(4, 3)


def top(**change):
    """Four VEC3 in a data: buffer."""
    data = VALUES.tobytes()
    content = {
        "asset": {"version": "2.0"},
        "buffers": [
            {"byteLength": 48, "uri": "data:;base64," + base64.b64encode(data).decode()},
        ],
        "bufferViews": [{"buffer": 0, "byteLength": 48}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"}],
    }
    for path, value in change.items():
        at, *rest = path.split("__")
        if not rest:
            content[at] = value
        elif value is None:
            content[at][0].pop(rest[0], None)
        else:
            content[at][0][rest[0]] = value
    return content


def saved(tmp_path, content, name="a.gltf"):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path / name


def test_an_accessor(tmp_path):
    np.testing.assert_array_equal(Gltf(saved(tmp_path, top())).accessor(0, "VEC3", "here"), VALUES)


def sparse(count=2, rows=(1, 3), kind=5123, base=True, **change):
    """The four VEC3 of `top`, two of them replaced by (90, 91, 92) and (93, 94, 95)."""
    new = np.arange(90, 96, dtype="<f4").tobytes()
    data = VALUES.tobytes() + new + np.array(rows, "<u2").tobytes().ljust(8, b"\0")
    content = top(buffers__uri="data:;base64," + base64.b64encode(data).decode(), buffers__byteLength=80)
    content["bufferViews"] += [
        {"buffer": 0, "byteOffset": 48, "byteLength": 24},
        {"buffer": 0, "byteOffset": 72, "byteLength": 2 * len(rows)},
    ]
    content["accessors"][0]["sparse"] = {
        "count": count,
        "indices": {"bufferView": 2, "componentType": kind},
        "values": {"bufferView": 1},
        **change,
    }
    if not base:
        del content["accessors"][0]["bufferView"]
    return content


@pytest.mark.parametrize("base", [True, False])
def test_a_sparse_accessor(tmp_path, base):
    wanted = VALUES.copy() if base else np.zeros((4, 3))
    wanted[[1, 3]] = [(90, 91, 92), (93, 94, 95)]
    file = Gltf(saved(tmp_path, sparse(base=base)))
    np.testing.assert_array_equal(file.accessor(0, "VEC3", "here"), wanted)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"count": 5}, "sparse.count: got 5, expected at most 4"),
        ({"count": 0}, "sparse.count: got 0"),
        ({"rows": (3, 1)}, "growing numbers below 4"),
        ({"rows": (1, 4)}, "growing numbers below 4"),
        ({"rows": (1, 1)}, "growing numbers below 4"),
        ({"rows": (1,)}, "end at byte 4 of a view of 2"),
        ({"kind": 5126}, "expected 5121, 5123 or 5125"),
        ({"indices": 3}, "expected count, and indices and values"),
        ({"values": {}}, "expected count, and indices and values"),
        ({"values": {"bufferView": 9}}, "bufferView: got 9"),
        ({"values": {"bufferView": 1, "byteOffset": 8}}, "end at byte 32 of a view of 24"),
    ],
)
def test_sparse_accessors_that_lie(tmp_path, change, text):
    with pytest.raises(GltfError, match=text):
        Gltf(saved(tmp_path, sparse(**change))).accessor(0, "VEC3", "here")


def test_strides_and_offsets(tmp_path):
    data = np.zeros((4, 5), "<f4")
    data[:, 1:4] = VALUES
    content = top(
        buffers__uri="data:;base64," + base64.b64encode(data.tobytes()).decode(),
        buffers__byteLength=80,
        bufferViews__byteLength=76,
        bufferViews__byteOffset=4,
        bufferViews__byteStride=20,
    )
    np.testing.assert_array_equal(Gltf(saved(tmp_path, content)).accessor(0, "VEC3", "here"), VALUES)
    content["accessors"][0] |= {"byteOffset": 4, "count": 3, "type": "VEC2"}
    np.testing.assert_array_equal(Gltf(saved(tmp_path, content)).accessor(0, "VEC2", ""), VALUES[:3, 1:])


@pytest.mark.parametrize(
    "change, text",
    [
        ({"accessors__count": 5}, "5 elements end at byte 60 of a view of 48"),
        ({"accessors__count": -1}, "count: got -1"),
        ({"accessors__count": True}, "count: got True"),
        ({"accessors__count": 2**50}, "count: got"),
        ({"accessors__count": 10**9}, "expected at most"),
        ({"accessors__byteOffset": 1}, "end at byte 49"),
        ({"accessors__byteOffset": -4}, "byteOffset: got -4"),
        ({"accessors__bufferView": 7}, "bufferView: got 7, expected an index of 1 bufferViews"),
        ({"accessors__bufferView": "0"}, "bufferView: got 0"),
        ({"accessors__type": "VEC4"}, "got type 'VEC4'"),
        ({"accessors__componentType": 5130}, "got componentType 5130"),
        ({"accessors__sparse": {}}, "sparse"),
        ({"bufferViews__byteLength": 49}, "ends at byte 49 of a buffer of 48"),
        ({"bufferViews__byteOffset": 2**39}, "ends at byte"),
        ({"bufferViews__byteStride": 3}, "byteStride 3"),
        ({"bufferViews__byteStride": 10**6}, "byteStride 1000000"),
        ({"bufferViews__buffer": 3}, "buffer: got 3"),
        ({"buffers__byteLength": 4800}, "says 4800 bytes, 48 are there"),
        ({"buffers__uri": None}, "has no uri"),
        ({"buffers__uri": 5}, "got int"),
        ({"buffers__uri": "data:;base64,!!"}, "no base64"),
        ({"buffers__uri": "data:text/plain,hello"}, "expected data:...;base64"),
        ({"accessors": {}}, "accessors: expected an array"),
        ({"accessors": [1]}, "accessors: expected an array"),
    ],
)
def test_lies_about_sizes_are_found(tmp_path, change, text):
    with pytest.raises(GltfError, match=text):
        Gltf(saved(tmp_path, top(**change))).accessor(0, "VEC3", "here")


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.bin",
        "..%2fsecret.bin",
        "a/../../secret.bin",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:9/a.bin",
        "\\\\server\\share",
        "C:secret.bin",
        "link.bin",
        "missing.bin",
        "a%00.bin",
    ],
)
def test_no_file_outside_the_folder_is_opened(tmp_path, uri):
    (tmp_path / "secret.bin").write_bytes(VALUES.tobytes())
    folder = tmp_path / "in"
    folder.mkdir()
    os.symlink(tmp_path / "secret.bin", folder / "link.bin")
    with pytest.raises(GltfError, match=r"buffers\[0\].uri"):
        Gltf(saved(folder, top(buffers__uri=uri))).accessor(0, "VEC3", "here")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "no readable glTF JSON"),
        ("[]", "no glTF"),
        ("{}", "no 'asset'"),
        ('{"asset": {"version": "1.0"}}', "asset.version: got '1.0'"),
        ("[" * 100_000, "no readable glTF JSON"),
        ("\x00\x01", "no readable glTF JSON"),
        (json.dumps(top(extensionsRequired=["EXT_meshopt_compression"])), "EXT_meshopt_compression"),
    ],
)
def test_what_is_no_gltf(tmp_path, text, expected):
    with pytest.raises(GltfError, match=expected):
        Gltf(saved(tmp_path, text))


def glb(
    text=b'{"asset":{"version":"2.0"}} ', version=2, length=None, json_length=None, kind=0x4E4F534A, tail=b""
):
    size = 20 + len(text) + len(tail) if length is None else length
    count = len(text) if json_length is None else json_length
    return struct.pack("<4sIIII", b"glTF", version, size, count, kind) + text + tail


@pytest.mark.parametrize(
    "data, text",
    [
        (b"glTF", "ends inside the header"),
        (glb(version=1), "version 1"),
        (glb(length=10**9), "header says"),
        (glb(json_length=10**9), "header says"),
        (glb(kind=1), "header says"),
        (glb(tail=struct.pack("<II", 10**9, 0x004E4942)), "binary chunk says 1000000000"),
    ],
)
def test_glb_headers_that_lie(tmp_path, data, text):
    (tmp_path / "a.glb").write_bytes(data)
    with pytest.raises(GltfError, match=text):
        Gltf(tmp_path / "a.glb")


@pytest.mark.parametrize(
    "nodes, text",
    [
        ([{"children": [1]}, {"children": [0]}], "circle"),
        ([{"children": [1, 1]}, {}], "child of two"),
        ([{"children": [0]}], "child of two nodes, or of itself"),
        ([{"children": [9]}], "got 9"),
        ([{"children": {}}], "expected an array"),
        ([{"rotation": [0, 0, 1]}], "rotation: got"),
        ([{"translation": [0, 0, "x"]}], "translation: got"),
        ([{"matrix": [0] * 16}], "without an inverse"),
        ([{"children": [i + 1]} for i in range(600)] + [{}], "deeper than 512"),
    ],
)
def test_trees_that_are_none(tmp_path, nodes, text):
    content = top(nodes=nodes)
    content["animations"] = [
        {
            "channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}],
            "samplers": [{"input": 1, "output": 2}],
        }
    ]
    content["accessors"] += [
        {"componentType": 5126, "count": 1, "type": "SCALAR"},
        {"componentType": 5126, "count": 1, "type": "VEC4"},
    ]
    with pytest.raises(MotionError, match=text):
        load_gltf(saved(tmp_path, content))


def test_files_with_bytes_changed_fail_as_they_should(tmp_path):
    """Two thousand damaged files: read, or refused; never anything else."""
    good = json.dumps(
        top(nodes=[{"children": [1]}, {}], animations=[{"channels": [], "samplers": []}])
    ).encode()
    blob = glb(good + b" " * (-len(good) % 4), tail=struct.pack("<II", 48, 0x004E4942) + VALUES.tobytes())
    r = np.random.default_rng(1)
    path = tmp_path / "a.glb"
    refused = 0
    for _ in range(2000):
        damaged = bytearray(blob)
        for at in r.integers(0, len(blob), r.integers(1, 6)):
            damaged[at] = r.integers(0, 256)
        path.write_bytes(damaged[: r.integers(1, len(blob))] if r.random() < 0.2 else damaged)
        try:
            load_gltf(path)
        except MotionError:
            refused += 1
    assert refused == 2000  # there is no motion in the good one either
