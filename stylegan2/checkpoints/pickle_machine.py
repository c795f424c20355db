"""A safe interpreter for pickles, which are programs for a stack machine.

Python's own unpickler imports and calls whatever a file names, and even a restrictive subclass of it
allocates memory before checking sizes (memo slots, byte arrays) and hashes arbitrary objects. Here the
standard library only parses the instructions (`pickletools`). None of them imports anything, sets an
attribute, or calls anything but the few functions passed in by name; every other class or function that a
file names becomes an `Inert` record. Steps are counted and keys are small, so that time and memory are
proportional to the file's size.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MAX_STEPS = 1_000_000  # the published FFHQ networks take 70,000, CLIP's archive 14,000
MAX_LINE = 1 << 12
MAX_NUMBERED = 1 << 11  # entries of a dictionary with keys other than text; optimizers' have a few hundred


class Inert:
    """A record of a class or function that a pickle names, or of a call of it that was not made.

    `module` and `name` are as in the file. `args` are the arguments of the call, or None for the bare name.
    `state` is the state that the object was to be given, or None.
    """

    __slots__ = ("args", "module", "name", "state")

    def __init__(self, module: str, name: str, args: tuple[Any, ...] | None = None) -> None:
        self.module, self.name, self.args = module, name, args
        self.state: Any = None

    def __repr__(self) -> str:
        return f"<inert {self.module[:80]}.{self.name[:80]}>"


class PickleRefusal(Exception):  # noqa: N818 (it is the end of a sentence that begins with the file's name)
    """A pickle is refused; the message says why, such as "is cut short"."""


class Budget:
    """The steps and bytes that reading one file may still take, shared by the streams within it."""

    def __init__(self, size: int) -> None:
        self.steps, self.unpacked = MAX_STEPS, size

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise PickleRefusal("is a pickle of more instructions than any model needs")

    def unpack(self, size: int) -> None:
        self.unpacked -= size
        if self.unpacked < 0:
            raise PickleRefusal("unpacks the same bytes again and again")


class Stream:
    """Memory as a file for `pickletools` and `zipfile`; no read returns more than `most` bytes."""

    def __init__(self, data: memoryview, most: int | None = None) -> None:
        self.data, self.at = data, 0
        self.most = len(data) if most is None else most

    def read(self, size: int = -1) -> bytes:
        end = len(self.data) if size < 0 else min(self.at + size, len(self.data))
        if end - self.at > self.most:
            raise PickleRefusal("has a table of contents too long for a model")
        piece = bytes(self.data[self.at : end])
        self.at += len(piece)
        return piece

    def readline(self) -> bytes:
        line = bytes(self.data[self.at : self.at + MAX_LINE])
        line = line[: line.find(b"\n") + 1] or line
        self.at += len(line)
        return line

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self.at, len(self.data))[whence]
        if at < 0:
            raise OSError("a place before the file")
        self.at = at
        return at


LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
BYTES_AFTER = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}  # instruction and length
NOTHING_TO_DO = {"PROTO", "FRAME"}

Builders = Mapping[tuple[str, str], Callable[..., Any]]


class Machine:
    """Runs the instructions of one pickle over `data`, with its own stack, marks and memo."""

    def __init__(
        self,
        data: memoryview,
        budget: Budget,
        builders: Builders,
        load_storage: Callable[[Any], Any] | None = None,
        others: Callable[[str, str, tuple[Any, ...]], Any] = Inert,
    ) -> None:
        """`builders` maps (module, name) to the function to call; `others` records any other call, or refuses
        it; `load_storage` resolves the pickle's persistent references to data outside it."""
        self.data, self.budget, self.builders = data, budget, builders
        self.load_storage, self.others = load_storage, others
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks beneath each mark
        self.memo: dict[int, Any] = {}

    def run(self, stream: Stream) -> Any:
        """The object of the next pickle in the stream."""
        for instruction, operand, where in pickletools.genops(stream):  # type: ignore[arg-type]  # it reads only, as genops does
            self.budget.step()
            name = instruction.name
            if name == "STOP":
                return self.stack.pop()
            if name in LITERALS:
                self.push(operand)
            elif name in BYTES_AFTER and operand is not None and where is not None:
                start = where + BYTES_AFTER[name]
                self.push(self.data[start : start + len(operand)])  # a view, not the copy
            elif name in ACTIONS:
                ACTIONS[name](self)
            elif name in OPERAND_ACTIONS:
                OPERAND_ACTIONS[name](self, operand)
            elif name not in NOTHING_TO_DO:  # extension codes and out-of-band buffers among them
                raise PickleRefusal(f"uses the pickle instruction {name}, which no model needs")
        raise PickleRefusal("is cut short")  # pickletools has raised ValueError by now

    def push(self, item: Any) -> None:
        self.stack.append(item)

    def above_mark(self) -> list[Any]:
        """Remove the last mark and everything above it; returns what was above it."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.below.pop()

    def group(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Inert:
            raise PickleRefusal("adds items to what is no list")

    def add(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is set:
            target.update(_keys(items, len(target)))
        elif type(target) is not Inert:
            raise PickleRefusal("adds items to what is no set")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is dict:
            target.update(pairs(items, len(target)))
        elif type(target) is not Inert:
            raise PickleRefusal("sets items of what is no dictionary")

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise PickleRefusal("names a class by something else than text")
        self.push(Inert(module, name))

    def name(self, operand: str) -> None:
        module, _, name = operand.partition(" ")
        self.push(Inert(module, name))

    def call(self, args: Any) -> None:
        """Replace a name on the stack by the result of calling it, or a record of the call."""
        what = self.stack.pop()
        if type(what) is not Inert or what.args is not None or type(args) is not tuple:
            raise PickleRefusal("calls what is neither a class nor a function")
        self.budget.step(len(args))  # a memo can hand the same arguments to many calls
        build = self.builders.get((what.module, what.name))
        self.push(build(*args) if build else self.others(what.module, what.name, args))

    def instance(self, operand: str) -> None:
        """Protocol 0: the name is the operand, the arguments are above the mark."""
        args = tuple(self.above_mark())
        self.name(operand)
        self.call(args)

    def marked_instance(self) -> None:
        """Protocol 1: the name is the first item above the mark, the arguments follow."""
        what, *args = self.above_mark()
        self.push(what)
        self.call(tuple(args))

    def call_with_keywords(self) -> None:
        keywords, args = self.stack.pop(), self.stack.pop()
        if type(args) is not tuple:
            raise PickleRefusal("calls what is neither a class nor a function")
        self.call((*args, keywords))

    def set_state(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is Inert and target.args is not None:
            target.state = state
        elif type(target) is not dict:  # an OrderedDict's attributes, such as _metadata, are dropped
            raise PickleRefusal("sets the state of what has none")

    def persistent(self) -> None:
        if self.load_storage is None:
            raise PickleRefusal("refers to data outside its own pickle")
        self.push(self.load_storage(self.stack.pop()))


def _keys(items: list[Any], before: int = 0) -> list[Any]:
    """`items`, checked to be safe as keys beside `before` others: short text, or a few small numbers or None.

    Nested tuples can take forever to hash, and numbers can be chosen so that their hashes collide.
    """
    for item in items:
        text = type(item) is str and len(item) <= MAX_LINE
        if not text and (before + len(items) > MAX_NUMBERED or not _is_small(item)):
            raise PickleRefusal("has a dictionary or set whose keys are not text or small numbers")
    return items


def _is_small(item: Any) -> bool:
    return item is None or (type(item) in (bool, int, float) and -(1 << 60) < item < 1 << 60)


def pairs(items: list[Any], before: int = 0) -> dict[Any, Any]:
    """A dictionary from alternating keys and values, to be added to one that has `before` entries."""
    if len(items) % 2:
        raise PickleRefusal("has a dictionary with a key and no value")
    return dict(zip(_keys(items[::2], before), items[1::2], strict=True))


ACTIONS: dict[str, Callable[[Machine], Any]] = {
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "EMPTY_LIST": lambda m: m.push([]),
    "EMPTY_TUPLE": lambda m: m.push(()),
    "EMPTY_DICT": lambda m: m.push({}),
    "EMPTY_SET": lambda m: m.push(set()),
    "LIST": lambda m: m.push(m.above_mark()),
    "TUPLE": lambda m: m.push(tuple(m.above_mark())),
    "DICT": lambda m: m.push(pairs(m.above_mark())),
    "FROZENSET": lambda m: m.push(frozenset(_keys(m.above_mark()))),
    "TUPLE1": lambda m: m.group(1),
    "TUPLE2": lambda m: m.group(2),
    "TUPLE3": lambda m: m.group(3),
    "APPEND": lambda m: m.extend([m.stack.pop()]),
    "APPENDS": lambda m: m.extend(m.above_mark()),
    "ADDITEMS": lambda m: m.add(m.above_mark()),
    "SETITEM": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m: m.set_items(m.above_mark()),
    "POP": Machine.pop,
    "DUP": lambda m: m.push(m.stack[-1]),
    "MARK": Machine.mark,
    "POP_MARK": Machine.above_mark,
    "MEMOIZE": lambda m: m.memo.update({len(m.memo): m.stack[-1]}),
    "STACK_GLOBAL": Machine.stack_global,
    "REDUCE": lambda m: m.call(m.stack.pop()),
    "NEWOBJ": lambda m: m.call(m.stack.pop()),
    "NEWOBJ_EX": Machine.call_with_keywords,
    "OBJ": Machine.marked_instance,
    "BUILD": Machine.set_state,
    "BINPERSID": Machine.persistent,
}
OPERAND_ACTIONS: dict[str, Callable[[Machine, Any], Any]] = {
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, slot: m.push(m.memo[slot])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, slot: m.memo.update({slot: m.stack[-1]})),
    "GLOBAL": Machine.name,
    "INST": Machine.instance,
}
