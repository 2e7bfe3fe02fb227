"""The rows of numbers of a BVH file, read in pieces: exact, with little memory, tolerant of what exporters
add."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

PIECE = 1 << 18  # bytes read at once: what is computed from them stays in the processor's cache
MAX_WORD = 512
_BLANK, _DIGIT, _DOT, _SIGN, _OTHER = range(5)
_KIND = np.full(256, _OTHER, np.uint8)
_KIND[[9, 10, 11, 12, 13, 32]] = _BLANK
_KIND[48:58] = _DIGIT
_KIND[46] = _DOT
_KIND[45] = _SIGN
_POWERS = 10.0 ** np.arange(23)  # all exact in float64
_EXACT_DIGITS = 15  # so many digits are a whole number that float64 holds
_GLUED = re.compile(rb"(?<=[0-9.])(?=-)")
_COMMENT = re.compile(rb"#[^\r\n]*")
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

GLUED = "numbers without a blank before the minus sign (0.0-7.5) were taken apart"
COMMENTS = "comments (#) were skipped"
ENDED = "bytes 0 or ^Z at the end of the file were ignored"


class BadWord(Exception):
    """A word that is no finite number; `offset` of its first byte in the file."""

    def __init__(self, word: str, offset: int):
        super().__init__(word)
        self.word = word
        self.offset = offset


def numbers(piece: bytes, offset: int, tell: Callable[[str], None]) -> np.ndarray:
    """All numbers f64[n] of a piece of text that ends between two words, correctly rounded.

    offset: of the piece in its file. tell: called with a note for what was mended. Raises BadWord.
    """
    simple = _simple(np.frombuffer(piece, np.uint8), tell)
    return simple if simple is not None else _word_by_word(piece, offset, tell)


def _simple(text: np.ndarray, tell) -> np.ndarray | None:
    """Plain decimals of at most 15 digits, or None where there is anything else. A number is its digits as a
    whole number, divided by a power of ten: both exact, so the quotient is what float() gives."""
    kind = _KIND[text]
    if not len(kind) or kind.max(initial=0) == _OTHER:
        return np.zeros(0) if not len(kind) else None
    inner = kind != _BLANK
    first = inner.copy()
    first[1:] &= ~inner[:-1]
    minus = np.flatnonzero(kind == _SIGN)
    glued = minus[~first[minus]]
    if len(glued):
        if not np.isin(kind[glued - 1], (_DIGIT, _DOT)).all():
            return None
        first[glued] = True
        tell(GLUED)
    starts = np.flatnonzero(first)
    if not len(starts):
        return np.zeros(0)
    digit = kind == _DIGIT
    before = np.cumsum(digit, dtype=np.int32)  # digits up to and with this byte
    low = before[starts] - digit[starts]  # before each number
    high = np.append(low[1:], before[-1])
    count = high - low
    if count.min() < 1 or count.max() > _EXACT_DIGITS:
        return None
    dots = np.flatnonzero(kind == _DOT)
    owner = np.searchsorted(starts, dots, side="right") - 1
    if len(owner) > 1 and (owner[1:] == owner[:-1]).any():
        return None
    decimals = np.zeros(len(starts), np.int32)
    decimals[owner] = high[owner] - before[dots]
    place = np.repeat(high - 1, count) - np.arange(before[-1], dtype=np.int32)
    whole = np.add.reduceat((text[digit] - np.uint8(48)) * _POWERS[place], low)
    out = whole / _POWERS[decimals]
    np.negative(out, out=out, where=kind[starts] == _SIGN)
    return out


def _word_by_word(piece: bytes, offset: int, tell) -> np.ndarray:
    text = piece
    if b"#" in text:
        text = _COMMENT.sub(lambda m: b" " * len(m[0]), text)
        tell(COMMENTS)
        if not _KIND[np.frombuffer(text, np.uint8)].max(initial=0) == _OTHER:
            return numbers(text, offset, tell)
    if (whole := _plain_words(text)) is not None:
        return whole
    out = []
    for found in re.finditer(rb"[^\s]+", text):
        word, at = found[0], offset + found.start()
        if not _NUMBER.fullmatch(word):
            parts = _GLUED.sub(b" ", word).split()
            if len(parts) < 2 or not all(_NUMBER.fullmatch(p) for p in parts):
                raise BadWord(word[:40].decode("utf-8", "replace"), at)
            tell(GLUED)
            out += map(float, parts)
        else:
            out.append(float(word))
        if abs(out[-1]) == np.inf:
            raise BadWord(word[:40].decode("utf-8", "replace"), at)
    return np.array(out)


def _plain_words(text: bytes) -> np.ndarray | None:
    """The numbers of text that holds nothing but blanks and characters of numbers, each word one of them, else
    None."""
    if text.translate(None, b"0123456789.+-eE \t\r\n\v\f") or _GLUED.search(text):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's way of saying that a word is no number
        try:
            out = np.fromstring(text.decode("ascii"), np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            return None
    return out if np.isfinite(out).all() else None


def pieces(file: BinaryIO, tell) -> Iterator[tuple[bytes, int]]:
    """What is left of the file in pieces that end between two lines (or words), with their offsets; without
    zero bytes and ^Z at its end."""
    offset, rest = file.tell(), b""
    while True:
        new = file.read(PIECE)
        if not new:
            break
        text = rest + new
        if b"\0" in new or b"\x1a" in new:  # only what follows the last number is left out
            bare = text.rstrip(b"\0\x1a \t\r\n\v\f")
            if not _more(file):
                tell(ENDED)
                rest = bare + b"\n"
                continue
        cut = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        if not cut:
            cut = max(text.rfind(b" "), text.rfind(b"\t")) + 1
        if not cut and len(text) > PIECE + MAX_WORD:
            raise BadWord(text[:40].decode("utf-8", "replace"), offset)
        yield text[:cut], offset
        offset, rest = offset + cut, text[cut:]
    if rest:
        yield rest, offset


def _more(file: BinaryIO) -> bool:
    """Does anything but zero bytes, ^Z and blanks follow in the file? Its place stays."""
    here = file.tell()
    try:
        while block := file.read(PIECE):
            if block.strip(b"\0\x1a \t\r\n\v\f"):
                return True
        return False
    finally:
        file.seek(here)
