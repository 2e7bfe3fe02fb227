"""Pickles, torch's zip and joblib files as data. The attacks on them are in tests/export and tests/motion."""

import io
import pickle
import pickletools

import numpy as np
import pytest

from dinar_live.runtime.formats.joblib_files import read_joblib
from dinar_live.runtime.formats.pickles import load_pickle
from dinar_live.runtime.formats.restricted_unpickle import (
    MAX_OPERATIONS,
    Buildable,
    Inert,
    UnpickleError,
    read_pickle,
)
from dinar_live.runtime.formats.stored_array import StoredArray, StoredArrayError
from dinar_live.runtime.formats.torch_zip import TorchZipError, read_torch_zip

LIMIT = 1 << 20


@pytest.mark.parametrize(
    "name", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_tensors_of_every_type_and_layout(tmp_path, name):
    torch = pytest.importorskip("torch")
    whole = (torch.arange(24).reshape(4, 6) % 5 - 1).to(getattr(torch, name))
    tensors = {
        "whole": whole,
        "turned": whole.T,
        "part": whole[1:3, 2:5],
        "spread": whole[:, 1:2].expand(4, 5),
        "number": whole[2, 3],
        "nothing": whole[:0],
    }
    torch.save(tensors, tmp_path / "a.pt")
    top = read_torch_zip(tmp_path / "a.pt", LIMIT)
    assert list(top) == list(tensors)
    for key, tensor in tensors.items():
        if key == "spread":
            continue
        stored, wanted = top[key], tensor.float() if name == "bfloat16" else tensor
        assert isinstance(stored, StoredArray) and stored.shape == tuple(tensor.shape)
        array = stored.load()
        assert array.dtype == stored.dtype == wanted.numpy().dtype and array.flags.c_contiguous
        assert array.nbytes == stored.nbytes and array.flags.writeable
        np.testing.assert_array_equal(array, wanted.numpy())


def test_a_file_that_shrinks_after_it_was_opened(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(1000)}, path)
    stored = read_torch_zip(path, LIMIT)["a"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(StoredArrayError, match="cut short"):
        stored.load()
    with pytest.raises(TorchZipError, match="download complete"):
        read_torch_zip(path, LIMIT)


def test_numpy_numbers_are_keys(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({np.int64(3): np.ones(2), 4: 1}, 4))
    assert list(load_pickle(tmp_path / "a.pkl")) == [3, 4]


def test_unknown_names_are_inert_or_an_error():
    data = pickle.dumps({"a": io.StringIO, "b": [1]}, 4)
    assert isinstance(read_pickle(data, {})["a"], Inert)
    with pytest.raises(UnpickleError, match="asks for _io.StringIO"):
        read_pickle(data, {}, strict=True)


def test_only_who_asks_for_it_gets_a_state():
    class Wanted(Buildable):
        state = None

        def build(self, state):
            self.state = state

    class Other:
        def __setstate__(self, state):
            raise AssertionError

    data = b"\x80\x02cx\nWanted\n)R}Va\nK\x01sb."
    assert read_pickle(data, {("x", "Wanted"): Wanted}).state == {"a": 1}
    assert isinstance(read_pickle(data, {("x", "Wanted"): Other}), Other)


def test_memo_indices_are_bounded():
    assert read_pickle(b"\x80\x02]r" + MAX_OPERATIONS.to_bytes(4, "little") + b".", {}) == []
    with pytest.raises(UnpickleError, match="out of range"):
        read_pickle(b"\x80\x02]r\xff\xff\xff\x7f.", {})


def test_python_2_strings_hold_bytes():
    assert read_pickle(b"S'\\xe9\\n\\''\n.", {}) == "\xe9\n'"
    for bad in (b"S'a\n.", b"Sa\n.", b"S'\n.", b"S'a'", b"S'\\x'\n."):
        with pytest.raises(UnpickleError):
            read_pickle(bad, {})


def test_every_operation_is_read_or_refused():
    """A new Python may bring new ones: none of them is let through unseen."""
    for operation in pickletools.opcodes:
        data = operation.code.encode("latin1") + b"\x01" * 9 + b"\n1\n."
        try:
            read_pickle(data, {}, strict=True)
        except UnpickleError:
            pass


def test_joblib_files_have_a_limit_besides_their_arrays(tmp_path):
    (tmp_path / "a.joblib").write_bytes(b"\x80\x04" + b"]0" * 1000 + b"N.")
    assert read_joblib(tmp_path / "a.joblib", 3000) is None
    with pytest.raises(UnpickleError, match="more than 1000 bytes"):
        read_joblib(tmp_path / "a.joblib", 1000)
