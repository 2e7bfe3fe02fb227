"""Read the data of a pickle without running any of it.

Python's pickle format is a small stack program that may name and call anything. Here its operations are
decoded with the tables of the standard library's disassembler and interpreted over plain containers: a
global that the caller did not list becomes an `Inert` object, which swallows calls, states and items and does
nothing, or an error. Nothing is imported, no attribute is looked up, no method of a read object is called but
of the caller's own classes.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

MAX_OPERATIONS = (
    2_000_000  # a training checkpoint with optimizer state needs some 200,000; this bounds time and memory
)
MAX_KEY_BITS = 64

_MARK = object()


class UnpickleError(ValueError):
    """The bytes are not a pickle, are damaged, or ask for more than the limits allow."""


class Inert:
    """Stands for anything whose class or function was not allowed; holds only its dotted name."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<inert {self.name[:80]}>"


class Buildable:
    """What a constructor returns if it wants the state that the pickle gives to its object afterwards."""

    def build(self, state: Any) -> None:
        """Take the state. Raises UnpickleError; the usual errors for wrong types and sizes will do too."""
        raise NotImplementedError


class Stream(Protocol):
    """What a pickle is read from: a file, or a part of one."""

    def read(self, count: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


def read_pickle(
    data: bytes | Stream,
    constructors: Mapping[tuple[str, str], object],
    persistent: Callable[[object], object] | None = None,
    *,
    strict: bool = False,
) -> Any:
    """The object that a pickle describes: plain Python values, dicts, lists, tuples and sets.

    data: the pickle, or a stream that stands at its start and is left behind its end. constructors: (module,
    name) to what stands for that global: a function of ours, called with the pickled arguments (which may
    return a `Buildable`), or any other value (a token for our functions to recognise). persistent: turns
    persistent ids into objects. strict: a global that is not listed is an error, not an `Inert`. Raises
    UnpickleError for anything malformed, including wrong arguments for a constructor.
    """
    machine = _Machine(constructors, persistent, strict)
    try:
        _interpret(io.BytesIO(data) if isinstance(data, bytes) else data, machine)
        return machine.pop()
    except UnpickleError:
        raise
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as e:
        raise UnpickleError(f"damaged pickle ({type(e).__name__}: {str(e)[:200]})") from e


def _interpret(stream: Stream, machine: _Machine) -> None:
    """Run through the operations up to STOP."""
    for _ in range(MAX_OPERATIONS):
        code = stream.read(1)
        if code not in _OPERATIONS:
            raise UnpickleError(f"{code!r} where an operation belongs" if code else "it ends in the middle")
        name, argument, handler = _OPERATIONS[code]
        if handler is None:
            raise UnpickleError(f"operation {name} is not supported")
        handler(machine, argument(stream))
        if name == "STOP":
            return
    raise UnpickleError(f"more than {MAX_OPERATIONS} operations")


def _no_argument(stream: Stream) -> None:
    return None


def _string(stream: Stream) -> str:
    """The argument of STRING. pickletools wants ASCII, but Python 2 wrote the bytes of arrays this way."""
    text = stream.readline()
    if not text.endswith(b"\n"):
        raise UnpickleError("it ends in the middle")
    text = text.strip()
    if len(text) < 2 or text[:1] not in (b"'", b'"') or text[:1] != text[-1:]:
        raise UnpickleError("a string without quotes")
    return codecs.escape_decode(text[1:-1])[0].decode("latin1")


class _Machine:
    """Stack, memo and the rules by which values are combined."""

    def __init__(self, constructors, persistent, strict: bool):
        self.stack: list = []
        self.memo: dict[int, object] = {}
        self.constructors = constructors
        self.persistent = persistent
        self.strict = strict

    def pop_to_mark(self) -> list:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise UnpickleError("no mark on the stack")

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        value = self.stack.pop()
        if value is _MARK:
            raise UnpickleError("a mark where a value belongs")
        return value

    def find(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpickleError("a global whose name is no text")
        if (module, name) in self.constructors:
            return self.constructors[module, name]
        if self.strict:
            raise UnpickleError(f"it asks for {module[:80]}.{name[:80]}")
        return Inert(f"{module}.{name}")

    def call(self, function, args):
        if isinstance(function, Inert):
            return Inert(function.name)
        if not callable(function) or not isinstance(args, tuple):
            raise UnpickleError("a call of something that is no function")
        return function(*args)

    def remember(self, key: int):
        if not self.stack or self.stack[-1] is _MARK:
            raise UnpickleError("nothing to remember")
        if key > MAX_OPERATIONS:  # writers count from 0 or 1
            raise UnpickleError(f"the memo index {key} is out of range")
        self.memo[key] = self.stack[-1]

    def extend(self, items: list):
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise UnpickleError(f"items for a {type(target).__name__}")

    def update(self, items: list):
        target = self.stack[-1]
        if len(items) % 2:
            raise UnpickleError("a key without a value")
        if isinstance(target, dict):
            target.update(pairs(zip(items[::2], items[1::2], strict=True)))
        elif not isinstance(target, Inert):
            raise UnpickleError(f"entries for a {type(target).__name__}")

    def add(self, items: list):
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(item for item in items if is_key(item))
        elif not isinstance(target, Inert):
            raise UnpickleError(f"members for a {type(target).__name__}")


def is_key(value) -> bool:
    """Whether `value` may be hashed at bounded cost: no containers (deep nesting overflows the C stack), no
    huge integers."""
    if isinstance(value, int):
        return value.bit_length() <= MAX_KEY_BITS
    return value is None or isinstance(value, (str, bytes, float, Inert, np.number))


def pairs(items) -> dict:
    """Dict of the (key, value) pairs whose key is simple; others are of no use to any reader and are
    dropped."""
    return {key: value for key, value in items if is_key(key)}


def _constant(value):
    return lambda m, _: m.push(value)


def _literal(m, argument):
    m.push(argument)


def _global(m, argument):
    module, _, name = argument.partition(" ")
    m.push(m.find(module, name))


def _stack_global(m, _):
    name, module = m.pop(), m.pop()
    m.push(m.find(module, name))


def _reduce(m, _):
    args, function = m.pop(), m.pop()
    m.push(m.call(function, args))


def _new_object_ex(m, _):
    m.pop()  # keyword arguments: no constructor of ours takes any
    _reduce(m, _)


def _object(m, _):
    function, *args = m.pop_to_mark()
    m.push(m.call(function, tuple(args)))


def _build(m, _):
    """A state for the object below, which is for those that asked for it."""
    state, target = m.pop(), m.stack[-1]
    if isinstance(target, Buildable):
        target.build(state)


def _instance(m, argument):
    args = tuple(m.pop_to_mark())
    module, _, name = argument.partition(" ")
    m.push(m.call(m.find(module, name), args))


def _persistent(m, pid):
    if m.persistent is None:
        raise UnpickleError("a persistent id, which this file may not have")
    m.push(m.persistent(pid))


def _tuple(n: int):
    def make(m, _):
        m.push(tuple([m.pop() for _ in range(n)][::-1]))

    return make


def _short_extend(m, _):
    item = m.pop()
    m.extend([item])


def _short_update(m, _):
    value, key = m.pop(), m.pop()
    m.update([key, value])


_HANDLERS: dict[str, Callable] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, _: None),
    "MARK": lambda m, _: m.stack.append(_MARK),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"), _literal
    ),
    **dict.fromkeys(
        (
            "STRING",
            "BINSTRING",
            "SHORT_BINSTRING",
            "UNICODE",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINUNICODE8",
        ),
        _literal,
    ),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _literal),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "EMPTY_TUPLE": _tuple(0),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_to_mark())),
    "LIST": lambda m, _: m.push(m.pop_to_mark()),
    "DICT": lambda m, _: (lambda items: (m.push({}), m.update(items)))(m.pop_to_mark()),
    "FROZENSET": lambda m, _: m.push(frozenset(item for item in m.pop_to_mark() if is_key(item))),
    "APPEND": _short_extend,
    "APPENDS": lambda m, _: m.extend(m.pop_to_mark()),
    "SETITEM": _short_update,
    "SETITEMS": lambda m, _: m.update(m.pop_to_mark()),
    "ADDITEMS": lambda m, _: m.add(m.pop_to_mark()),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, key: m.push(m.memo[key])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, key: m.remember(key)),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_ex,
    "OBJ": _object,
    "INST": _instance,
    "BUILD": _build,
    "PERSID": _persistent,
    "BINPERSID": lambda m, _: _persistent(m, m.pop()),
}

# the byte of an operation -> its name, how its argument is read, and what it does (None: refused)
_OPERATIONS: dict[bytes, tuple[str, Callable[[Any], Any], Callable | None]] = {
    op.code.encode("latin1"): (
        op.name,
        _string if op.name == "STRING" else op.arg.reader if op.arg else _no_argument,
        _HANDLERS.get(op.name),
    )
    for op in pickletools.opcodes
}
