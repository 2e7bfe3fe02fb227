"""Npz: no object is unpickled and no more is unpacked than was agreed, whatever the file says about
itself."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from dinar_live.export import inputs
from dinar_live.runtime.avatar import Body
from dinar_live.runtime.avatar import body as body_module
from dinar_live.runtime.core.errors import BodyError, InputError, MotionError
from dinar_live.runtime.formats.npz import MAX_MEMBERS, Npz
from dinar_live.runtime.motion import load_motion, smplx_npz


def npy(shape=(3,), descr="<f4", content=None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue() + (np.zeros(shape, descr).tobytes() if content is None else content)


def archive(path, members: dict[str, bytes], packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as z:
        for name, content in members.items():
            z.writestr(name, content)
    return path


def test_reads_what_numpy_writes(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.ones((2, 3), np.float32)),
        "s": np.array("text"),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        with Npz(tmp_path / "x.npz", 1 << 20) as z:
            assert z.keys == set(arrays) and z.header("a") == ((2, 3), np.float64)
            for name, want in arrays.items():
                np.testing.assert_array_equal(z.read(name), want)


def bomb(path, names, megabytes=64):
    """A few kilobytes that unpack to `megabytes` for each name."""
    content = npy((megabytes << 20,), "|u1")
    archive(path, {f"{name}.npy": content for name in names})
    assert path.stat().st_size < len(names) * megabytes * 2000
    return path


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with Npz(bomb(tmp_path / "x.npz", ["a"]), 1 << 20) as z:
        tracemalloc.start()
        with pytest.raises(ValueError, match="a: 67108992 bytes unpacked, expected at most 1048576"):
            z.read("a")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


def test_the_limit_is_for_all_arrays_together(tmp_path):
    archive(tmp_path / "x.npz", {f"{name}.npy": npy((100, 1000)) for name in "abc"})
    with Npz(tmp_path / "x.npz", 1_300_000) as z:
        z.read("a")
        z.read("b")
        with pytest.raises(ValueError, match="in all"):
            z.read("c")


@pytest.mark.parametrize(
    "content, says",
    [
        (npy((10**12,), content=b""), "needs 4000000000000 bytes"),
        (npy((4,), content=b"\0" * 5), "expected 16 bytes got 5"),
        (npy((40,), content=b"\0"), "needs 160 bytes"),
        (npy((2**62, 2**62), content=b""), "needs"),
        (npy((1,), "|O", content=b"\x80\x04N."), "Python objects"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "a"),
        (b"", "a"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, "damaged"),
    ],
)
def test_members_that_lie(tmp_path, content, says):
    archive(tmp_path / "x.npz", {"a.npy": content})
    with Npz(tmp_path / "x.npz", 1 << 20) as z, pytest.raises(ValueError, match=says):
        z.read("a")


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_only_what_numpy_writes_is_unpacked(tmp_path, packing):
    archive(tmp_path / "x.npz", {"a.npy": npy()}, packing)
    with Npz(tmp_path / "x.npz", 1 << 20) as z, pytest.raises(ValueError, match="packed"):
        z.read("a")


def test_damaged_bytes_and_too_many_members(tmp_path):
    path = archive(
        tmp_path / "x.npz", {"a.npy": npy((50,), content=np.arange(50, dtype=np.float32).tobytes())}
    )
    data = bytearray(path.read_bytes())
    data[80] ^= 0xFF
    path.write_bytes(data)
    with Npz(path, 1 << 20) as z, pytest.raises(ValueError, match="a: "):
        z.read("a")
    archive(path, {f"{i}.npy": b"" for i in range(MAX_MEMBERS + 1)})
    with pytest.raises(ValueError, match="entries"):
        Npz(path, 1 << 20)
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="not an .npz file"):
        Npz(path, 1 << 20)


def test_bodies_fits_and_motions_are_limited(tmp_path, monkeypatch):
    for module, name in ((body_module, "MAX_BYTES"), (smplx_npz, "MAX_BYTES"), (inputs, "MAX_FIT_BYTES")):
        monkeypatch.setattr(module, name, 1 << 20)
    path = tmp_path / "x.npz"
    bomb(path, body_module.COMMON_KEYS + body_module.SMPLX_KEYS, 2)
    with pytest.raises(BodyError, match="x.npz.*bytes unpacked"):
        Body.load(path)
    bomb(path, inputs.FIT_KEYS, 2)
    with pytest.raises(InputError, match="x.npz.*bytes unpacked"):
        inputs.read_fit(path)
    bomb(path, ["poses"], 2)
    with pytest.raises(MotionError, match="x.npz.*bytes unpacked"):
        load_motion(path, fps=30)
