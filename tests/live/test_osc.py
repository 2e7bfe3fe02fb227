"""OSC datagrams: what is right is read, what is wrong is counted, nothing hangs or raises."""

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinar_live.runtime.live import osc

WANTED = frozenset((b"/a", b"/VMC/Ext/T", b"/x"))
HEAD = b"#bundle\0" + bytes(7) + b"\1"


def element(data):
    return struct.pack(">i", len(data)) + data


def test_reads_every_argument_type_and_skips_other_addresses():
    floats = b"/a\0\0,sff\0\0\0\0abc\0" + struct.pack(">ff", 1.5, -2)
    mixed = (
        b"/x\0\0,ifhdTFNsbI\0"
        + struct.pack(">ifqd", 7, 0.5, -9, 0.25)
        + b"four\0\0\0\0"
        + struct.pack(">i", 3)
        + b"xyz\0"
    )
    other = b"/other\0\0,f\0\0" + b"short"
    packet = osc.parse(HEAD + element(floats) + element(mixed) + element(other + b"\0\0\0"), WANTED)
    assert packet.bad == 0 and packet.count == 3 and packet.timetag == osc.IMMEDIATELY
    assert packet.messages == [
        (b"/a", (b"abc", 1.5, -2.0)),
        (b"/x", (7, 0.5, -9, 0.25, True, False, None, b"four", b"xyz", None)),
    ]


def test_reads_a_message_without_bundle_and_bundles_in_bundles():
    message = b"/VMC/Ext/T\0\0,f\0\0" + struct.pack(">f", 3.5)
    assert osc.parse(message, WANTED).messages == [(b"/VMC/Ext/T", (3.5,))]
    nested = HEAD + element(HEAD + element(message)) + element(message)
    assert [m.arguments for m in osc.parse(nested, WANTED).messages] == [(3.5,), (3.5,)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"#bundle\0",
        HEAD[:12],
        b"garbage" * 9000,
        b"\xff" * 65507,
        HEAD + struct.pack(">i", -4),
        HEAD + struct.pack(">i", -(2**31)),
        HEAD + struct.pack(">i", 0x7FFFFFFF) + b"/a\0\0",
        HEAD + bytes(60_000),
        HEAD + struct.pack(">i", 3) + b"/a\0",
        b"/a",
        b"/a\0\0,s\0\0abcd",
        b"/a\0\0,f\0\0\0\0",
        b"/a\0\0,sff\0\0\0\0abc\0\0\0",
        b"/a\0\0,b\0\0\x7f\xff\xff\xff",
        b"/a\0\0,b\0\0\xff\xff\xff\xff",
        b"/a\0\0,[f]\0\0\0\0" + bytes(4),
        b"/a\0\0ffff",
        b"/a\0\0,ffff",
    ],
)
def test_damaged_datagrams_are_counted(data):
    packet = osc.parse(data, WANTED)
    assert packet.bad >= 1 and not packet.messages


def test_depth_and_number_of_messages_are_bounded():
    deep = b"/a\0\0,\0\0\0"
    while len(deep) < 65_000:
        deep = HEAD + element(deep)
    began = time.process_time()
    assert osc.parse(deep, WANTED).bad == 1
    many = osc.parse(HEAD + element(b"/a\0\0") * 8000, WANTED)
    assert many.count == osc.MAX_MESSAGES == len(many.messages) and many.bad == 1
    assert time.process_time() - began < 0.5


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda b: HEAD + b),
        st.binary(max_size=100).map(lambda b: HEAD + element(b"/a\0\0,sf\0" + b)),
        st.lists(st.binary(max_size=40), max_size=8).map(lambda parts: HEAD + b"".join(map(element, parts))),
    )
)
def test_never_raises(data):
    packet = osc.parse(data, WANTED)
    assert packet.bad + packet.count <= len(data) // 4 + 2
