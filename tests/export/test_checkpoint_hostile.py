"""Pickles that want to run something, or to fill memory, do nothing and end in one error or in plain data."""

import io
import os
import pickle
import struct
import sys
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinar_live.export.checkpoint import load_checkpoint
from dinar_live.export.networks import random_state_dict
from dinar_live.export.networks.model import PREFIXES
from dinar_live.export.networks.storage import read_torch_file
from dinar_live.runtime.core.errors import CheckpointError
from dinar_live.runtime.formats.restricted_unpickle import Inert, UnpickleError, read_pickle


class Calls:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts


def as_torch_file(path, data: bytes, storages=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in storages:
            archive.writestr(f"archive/data/{name}", content)
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_call_happens(tmp_path, protocol, monkeypatch):
    proof = tmp_path / "proof"
    (tmp_path / "planted_module.py").write_text(f"open({str(proof)!r}, 'w')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import builtins

    hostile = [
        Calls(os.system, f"touch {proof}"),
        Calls(eval, f"open({str(proof)!r}, 'w')"),
        Calls(exec, f"open({str(proof)!r}, 'w')"),
        Calls(open, str(proof), "w"),
        Calls(getattr, Calls(__import__, "os"), "system"),
        Calls(
            Calls(getattr, builtins.__import__, "__call__").parts[0],
            Calls(__import__, "planted_module"),
            "Thing",
        ),
        Calls(map, os.system, [f"touch {proof}"], state={"__class__": Calls(os.system, f"touch {proof}")}),
        Calls(torch.load, str(proof)),
        Calls(torch.hub.load, "a/b", "c"),
    ]
    data = pickle.dumps(
        {"state_dict": {}, "callbacks": hostile, "one": {"deep": (hostile, [hostile])}}, protocol=protocol
    )
    top = read_pickle(data, {})
    assert all(isinstance(item, Inert) for item in top["callbacks"]) and top["state_dict"] == {}
    assert not proof.exists()

    path = as_torch_file(tmp_path / "hostile.ckpt", data)
    with pytest.raises(CheckpointError, match="not a DINAR checkpoint"):
        load_checkpoint(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cplanted_other\nThing\n.",  # GLOBAL
        b"\x80\x04\x8c\x0dplanted_other\x8c\x05Thing\x93.",  # STACK_GLOBAL
        b"(iplanted_other\nThing\n.",  # INST
        b"(cplanted_other\nThing\nVx\no.",  # OBJ
        b"\x80\x02cplanted_other\nThing\n)\x81}b.",  # NEWOBJ, BUILD
        b"\x80\x04cplanted_other\nThing\n)}\x92(Va\nVb\nu(Vc\ne.",  # NEWOBJ_EX, SETITEMS, APPENDS
    ],
)
def test_no_module_is_imported(data, tmp_path, monkeypatch):
    (tmp_path / "planted_other.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(read_pickle(data, {}), Inert)
    assert "planted_other" not in sys.modules


def test_hostile_parts_beside_good_weights_are_dropped(tmp_path):
    source = random_state_dict(1)
    prefix = PREFIXES["discriminator"]
    state = {key: source[key] for key in source if key.startswith(prefix)}
    proof = tmp_path / "proof"
    path = tmp_path / "good.ckpt"
    torch.save(
        {
            "state_dict": {**state, "extra": Calls(os.system, f"touch {proof}")},
            "evil": Calls(os.system, f"touch {proof}"),
        },
        path,
    )
    model = load_checkpoint(path, networks=("discriminator",))
    assert torch.equal(model.state_dict()[prefix + "convs.0.0.weight"], state[prefix + "convs.0.0.weight"])
    assert not proof.exists() and model.unexpected == []


def tensor_pickle(
    numel=4, offset=0, size=(4,), stride=(1,), key="0", storage=b"ctorch\nFloatStorage\n"
) -> bytes:
    """{"betas": a tensor} with the given numbers, in the words of torch.save."""

    def ints(values):
        return b"(" + b"".join(b"I%d\n" % v for v in values) + b"t"

    pid = b"(Vstorage\n" + storage + b"V%s\nVcpu\nI%d\ntQ" % (key.encode(), numel)
    args = b"(" + pid + b"I%d\n" % offset + ints(size) + ints(stride) + b"I00\n}t"
    return b"\x80\x02}Vbetas\nctorch._utils\n_rebuild_tensor_v2\n" + args + b"Rs."


def test_a_handwritten_tensor_is_read(tmp_path):
    path = as_torch_file(
        tmp_path / "t", tensor_pickle(offset=1, size=(2,)), [("0", struct.pack("<4f", 1, 2, 3, 4))]
    )
    assert read_torch_file(path)["betas"].load().tolist() == [2, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (5,)},
        {"offset": 1},
        {"offset": -1},
        {"size": (-1,)},
        {"stride": (2,)},
        {"stride": (-1,)},
        {"size": (1 << 40,), "stride": (0,)},
        {"size": (1,) * 9, "stride": (1,) * 9},
        {"size": (2, 2), "stride": (1,)},
        {"numel": -4},
    ],
)
def test_impossible_tensors(tmp_path, wrong):
    path = as_torch_file(tmp_path / "t", tensor_pickle(**wrong), [("0", bytes(16))])
    with pytest.raises(CheckpointError):
        read_torch_file(path)["betas"].load()


@pytest.mark.parametrize("storages", [[], [("0", bytes(15))], [("1", bytes(16))]])
def test_storages_that_are_missing_or_short(tmp_path, storages):
    entry = read_torch_file(as_torch_file(tmp_path / "t", tensor_pickle(), storages))["betas"]
    with pytest.raises(CheckpointError, match="missing, compressed or too short"):
        entry.load()


def test_storage_of_an_unknown_type_is_no_tensor(tmp_path):
    assert (
        read_torch_file(
            as_torch_file(tmp_path / "t", tensor_pickle(storage=b"cevil\nStorage\n"), [("0", bytes(16))])
        )
        == {}
    )


def test_compressed_and_huge_files_are_refused(tmp_path):
    path = tmp_path / "t"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200 << 20))
    with pytest.raises(CheckpointError, match="compressed or larger"):
        read_torch_file(path)
    as_torch_file(path, tensor_pickle())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch_file(path)["betas"].load()


def test_member_offsets_that_lie_are_refused(tmp_path):
    path = as_torch_file(tmp_path / "t", tensor_pickle(), [("0", bytes(16))])
    content = bytearray(path.read_bytes())
    last = content.rfind(b"PK\x01\x02")
    content[last + 42 : last + 46] = struct.pack("<I", 3)  # the local header of data/0, said to be elsewhere
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_torch_file(path)["betas"].load()


def test_bombs_end_in_an_error_or_stay_small():
    with pytest.raises(UnpickleError, match="operations"):
        read_pickle(b"\x80\x02" + b"]" * 3_000_000 + b".", {})
    with pytest.raises(UnpickleError):
        read_pickle(b"\x80\x02\x8b\xff\xff\xff\x7f.", {})  # LONG4 that claims two gigabytes
    laughs = (
        b"\x80\x02]q\x00" + b"".join(b"](" + b"h%c" % i * 10 + b"eq%c" % (i + 1) for i in range(90)) + b"."
    )
    assert len(read_pickle(laughs, {})) == 10  # 10^90 leaves, were one to walk it
    nested = (
        b"\x80\x02}" + b")" + b"\x85" * 500_000 + b"K\x01s."
    )  # as a key: hashing it would overflow the stack
    assert read_pickle(nested, {}) == {}
    assert read_pickle(b"\x80\x04\x8f(K\x01\x8a\x20" + b"\x7f" * 32 + b"\x90.", {}) == {
        1
    }  # a huge integer is not hashed either


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x02",
        b"0.",
        b"e.",
        b"h\x05.",
        b"K\x01K\x02s.",
        b"}(K\x01u.",
        b"K\x01)R.",
        b"\x80\x02Vx\nQ.",
        b"(.",
        b"(q\x00.",
        b"\x94.",
        b"\x82\x01.",
        b"\x97.",
        b"Kx",
        b"](s.",
        b"ccollections\nOrderedDict\nK\x01R.",
        b"I1x\n.",
    ],
)
def test_malformed_pickles(data):
    with pytest.raises(UnpickleError):
        read_pickle(data, {("collections", "OrderedDict"): lambda items=(): dict(items)})


SEED = pickle.dumps(
    {"state_dict": {"a": [1, 2.5, None, (True, "text")], "b": {3, 4}}, "c": Calls(os.getcwd)}, protocol=2
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), max_size=6),
    st.binary(max_size=20),
)
def test_damaged_pickles_end_in_our_error_or_in_data(changes, tail):
    data = bytearray(SEED)
    for position, value in changes:
        data[position] = value
    try:
        read_pickle(bytes(data) + tail, {})
    except UnpickleError:
        pass


def test_plain_data_is_read_as_pickle_wrote_it():
    value = {
        "i": 1 << 40,
        "f": -2.5,
        "t": (1, (), (2, 3), (4, 5, 6, 7)),
        "l": [None, True, b"bytes", "ünïcode"],
        "s": {1, 2},
        3: {},
    }
    for protocol in range(2, 6):
        stream = io.BytesIO()
        pickle.Pickler(stream, protocol).dump(value)
        got = read_pickle(stream.getvalue(), {})
        assert {k: v for k, v in got.items() if k not in ("l", "s")} == {
            k: v for k, v in value.items() if k not in ("l", "s")
        }
        assert got["l"][3] == "ünïcode" and got["l"][:2] == [None, True]
