"""Read the data of a pickle without running any of it.

Python's pickle format is a small stack program that may name and call anything. Here the program is decoded
with the standard library's disassembler and interpreted over plain containers: a global that the caller did
not list becomes an `Inert` object, which swallows calls, states and items and does nothing. Nothing is
imported, no attribute is looked up, no method of a read object is called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping

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


def read_pickle(
    data: bytes,
    constructors: Mapping[tuple[str, str], object],
    persistent: Callable[[object], object] | None = None,
) -> object:
    """The object that pickle `data` describes: plain Python values, dicts, lists, tuples and sets.

    `constructors` maps (module, name) to what stands for that global: a function of ours, called with the
    pickled arguments, or any other value (a token for our functions to recognise). `persistent` turns
    persistent ids into objects. Raises UnpickleError for anything malformed, including wrong arguments for a
    constructor.
    """
    machine = _Machine(constructors, persistent)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MAX_OPERATIONS:
                raise UnpickleError(f"more than {MAX_OPERATIONS} operations")
            handler = _HANDLERS.get(operation.name)
            if handler is None:
                raise UnpickleError(f"operation {operation.name} is not supported")
            handler(machine, argument)
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


class _Machine:
    """Stack, memo and the rules by which values are combined."""

    def __init__(self, constructors, persistent):
        self.stack: list = []
        self.memo: dict[int, object] = {}
        self.constructors = constructors
        self.persistent = persistent

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
        return self.constructors.get((module, name), Inert(f"{module}.{name}"))

    def call(self, function, args):
        if isinstance(function, Inert):
            return Inert(function.name)
        if not callable(function) or not isinstance(args, tuple):
            raise UnpickleError("a call of something that is no function")
        return function(*args)

    def remember(self, key: int):
        if not self.stack or self.stack[-1] is _MARK:
            raise UnpickleError("nothing to remember")
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
    return value is None or isinstance(value, (str, bytes, float, Inert))


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
    "BUILD": lambda m, _: m.pop(),  # a state for the object below: ours have none, inert ones ignore it
    "PERSID": _persistent,
    "BINPERSID": lambda m, _: _persistent(m, m.pop()),
}
