"""Random and mutated messages through the decoders: whatever comes, only ProtocolError may come out, and no
message may cost more memory than twice its size.

    python benchmarks/fuzz_messages.py --count 1000000 --seed 1

Needs the golden messages of a checkout. Ends with code 1, and the message in hexadecimal, at the first thing
that is wrong. CI runs a part.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import struct
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator

from dinar_live.runtime.core.errors import ProtocolError
from dinar_live.runtime.stream.protocol.image_codec import decode_view
from dinar_live.runtime.stream.protocol.messages import Caps, FrameMessage, Hello
from dinar_live.runtime.stream.protocol.messages_codec import decode
from dinar_live.runtime.stream.protocol.wire import (
    BLOCK,
    HEADER_SIZE,
    MessageType,
    pack,
    unpack_blocks,
    unpack_header,
)

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "tests" / "data" / "golden_messages"
# Python objects for a message that is all header, and for an exception.
FIXED_BYTES = 16 << 10
# A JSON object of many small parts costs so many times its bytes in Python objects; its bytes are capped at
# 16 KiB.
JSON_FACTOR = 150
_BYTES = (0, 1, 2, 3, 4, 7, 0x7F, 0x80, 0xFE, 0xFF)
_FLOATS = (
    0.0,
    -0.0,
    1.0,
    4.0,
    12.56,
    12.57,
    1e6,
    1.1e6,
    1e30,
    -1e30,
    float("inf"),
    float("-inf"),
    float("nan"),
    1e-45,
)
_LENGTHS = (0, 1, 4, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF)


def corpus() -> list[bytes]:
    """The golden messages."""
    found = [path.read_bytes() for path in sorted(GOLDEN.glob("*.bin"))]
    if not found:
        raise FileNotFoundError(f"{GOLDEN}: no golden messages; run this from a checkout")
    return found


def blocks_of(raw: bytes) -> list[tuple[int, int, bytes]]:
    return [(b.type, b.format, bytes(b.data)) for b in unpack_blocks(raw, unpack_header(raw))]


def messages(count: int, seed: int, seeds: list[bytes]) -> Iterator[bytes]:
    """`count` messages: noise, golden messages with bytes, fields, blocks or planes changed, and new ones
    made of their blocks."""
    rng = random.Random(seed)
    parts = [(unpack_header(raw), blocks_of(raw)) for raw in seeds]
    every = [block for _, blocks in parts for block in blocks]
    for i in range(count):
        match i % 8:
            case 0:
                yield rng.randbytes(rng.randrange(400))
            case 1:
                raw = rng.choice(seeds)
                yield raw[:HEADER_SIZE] + rng.randbytes(len(raw) - HEADER_SIZE)
            case 2 | 3:
                yield _bytes_changed(bytearray(rng.choice(seeds)), rng)
            case 4:
                raw = bytearray(rng.choice(seeds))
                at = rng.randrange(HEADER_SIZE, len(raw)) if len(raw) > HEADER_SIZE else 0
                struct.pack_into("<f", raw, min(at & ~3, len(raw) - 4), rng.choice(_FLOATS))
                yield bytes(raw)
            case 5:
                yield _length_lied(bytearray(rng.choice(seeds)), rng)
            case 6:
                header, blocks = rng.choice(parts)
                yield _packed(header, _blocks_changed(list(blocks), every, rng))
            case _:
                chosen = rng.choices(every, k=rng.randrange(1, 12))
                id, flags = rng.choice((0, 1, 2**64 - 1)), rng.choice((0, 1, 2**32 - 1))
                yield bytes(pack(rng.choice(list(MessageType)), chosen, id=id, flags=flags))


def _packed(header, blocks) -> bytes:
    return bytes(
        pack(header.type, blocks, flags=header.flags, id=header.id, client_time_ns=header.client_time_ns)
    )


def _bytes_changed(raw: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.randrange(1, 6)):
        raw[rng.randrange(len(raw))] = rng.choice((*_BYTES, rng.randrange(256)))
    if rng.random() < 0.3:
        cut = rng.randrange(len(raw))
        del raw[cut : cut + rng.randrange(1, 16)]
        if len(raw) >= HEADER_SIZE and rng.random() < 0.7:
            struct.pack_into("<I", raw, 48, len(raw) - HEADER_SIZE)
    return bytes(raw)


def _length_lied(raw: bytearray, rng: random.Random) -> bytes:
    """The length or count of the header or of a block says something else."""
    places = [(48, "I"), (14, "H"), (12, "H")]
    at = HEADER_SIZE
    while at + BLOCK.size <= len(raw):
        places.append((at + 4, "I"))
        at += BLOCK.size + (struct.unpack_from("<I", raw, at + 4)[0] + 7 & ~7)
    offset, kind = rng.choice(places)
    was = struct.unpack_from("<" + kind, raw, offset)[0]
    now = rng.choice((*_LENGTHS, was - 1, was + 1, was + 8)) & (0xFFFF if kind == "H" else 0xFFFFFFFF)
    struct.pack_into("<" + kind, raw, offset, now)
    return bytes(raw)


def _blocks_changed(blocks: list, every: list, rng: random.Random) -> list:
    """One block more, less, twice, elsewhere, of another format, cut, or with a plane that inflates to
    something else."""
    if not blocks:
        return [rng.choice(every)]
    at = rng.randrange(len(blocks))
    type, format, data = blocks[at]
    match rng.randrange(8):
        case 0:
            del blocks[at]
        case 1:
            blocks.insert(rng.randrange(len(blocks) + 1), blocks[at])
        case 2:
            rng.shuffle(blocks)
        case 3:
            blocks.insert(at, rng.choice(every))
        case 4:
            blocks[at] = type, rng.choice((0, 1, 2, 3, 4, 5, 65535)), data
        case 5:
            blocks[at] = type, format, data[: rng.randrange(len(data) + 1)]
        case 6:
            blocks[at] = type, format, data + rng.randbytes(rng.randrange(1, 40))
        case _:
            blocks[at] = type, format, zlib.compress(bytes(rng.choice((0, 1, 100, 1 << 16, 1 << 22))))
    return blocks


def check(raw: bytes) -> str:
    """Decodes one message, and the pixels of a frame, within the memory it may cost; what came of it in a
    word. Raises AssertionError.

    tracemalloc must be running."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        message = decode(raw)
        outcome, allowed = "read", 2 * len(raw)
        if isinstance(message, Hello | Caps):
            allowed = JSON_FACTOR * min(len(raw), 1 << 14)
    except ProtocolError:
        message, outcome, allowed = (
            None,
            "refused",
            JSON_FACTOR * min(len(raw), 1 << 14) if raw[6:7] in (b"\1", b"\2") else 2 * len(raw),
        )
    cost = tracemalloc.get_traced_memory()[1] - before
    assert cost <= allowed + FIXED_BYTES, f"{cost} bytes for a message of {len(raw)}"
    if isinstance(message, FrameMessage):
        outcome = _check_pixels(message)
    return outcome


def _check_pixels(frame: FrameMessage) -> str:
    """Pictures cost what their size says: a picture of 65535 x 65535 is for the caller of decode_view to
    refuse, so it is not tried."""
    pixels = sum(view.camera.width * view.camera.height for view in frame.views)
    if pixels > 1 << 20:
        return "too large to try"
    more = (frame.background,) if hasattr(frame, "background") else ()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        for view in frame.views:
            decode_view(view, frame.straight, *more)
        outcome = "drawn"
    except ProtocolError:
        outcome = "not drawn"
    cost = tracemalloc.get_traced_memory()[1] - before
    assert cost <= 64 * pixels + FIXED_BYTES * 4, f"{cost} bytes for pictures of {pixels} pixels"
    return outcome


def run(count: int, seed: int) -> Counter:
    """Checks `count` messages; how many were read, refused, drawn. Raises AssertionError, or whatever a
    decoder should not have raised."""
    outcomes, running = Counter(), tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        for raw in messages(count, seed, corpus()):
            try:
                outcomes[check(raw)] += 1
            except BaseException:
                print(f"seed {seed}, message {sum(outcomes.values())}: {raw.hex()}", file=sys.stderr)
                raise
    finally:
        if not running:
            tracemalloc.stop()
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    outcomes = run(args.count, args.seed)
    print(
        f"{args.count} messages in {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{n} {what}" for what, n in outcomes.most_common())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
