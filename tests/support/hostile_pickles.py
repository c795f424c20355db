"""Pickles that execute code in Python's own unpickler, and pickles that exhaust time or memory.

`programs` create a folder, as proof of execution; `bombs` are small streams that describe huge objects. They
are written instruction by instruction, because `pickle.dump` cannot write them.
"""

import io
import marshal
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before version 1.6
START = pickle.PROTO + b"\x04"


def text(value: str) -> bytes:
    """The instruction that pushes a string."""
    data = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def data(value: bytes) -> bytes:
    """The instruction that pushes bytes."""
    return pickle.BINBYTES + struct.pack("<I", len(value)) + value


def named(module: str, name: str) -> bytes:
    """The instructions that push a class or function."""
    return text(module) + text(name) + pickle.STACK_GLOBAL


def called(what: bytes, *args: bytes) -> bytes:
    """The instructions that push a function's result."""
    return what + pickle.MARK + b"".join(args) + pickle.TUPLE + pickle.REDUCE


class _Mkdir:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        import os

        return os.mkdir, (str(self.canary),)


def programs(canary: Path) -> dict[str, bytes]:
    """Complete pickles, each of which creates the folder `canary` when Python loads it."""
    path = str(canary)
    source = f"__import__('os').mkdir({path!r})"
    quoted, line = repr(path).encode(), f"mkdir {path}".encode()
    code = data(marshal.dumps(compile(source, "code", "eval")))
    setstate = text("__setstate__") + named("os", "mkdir")
    inside, zipped = io.BytesIO(), io.BytesIO()
    torch.save(_Mkdir(canary), inside, _use_new_zipfile_serialization=False)
    torch.save(_Mkdir(canary), zipped)
    from_bytes = named("torch.storage", "_load_from_bytes")
    module = called(named("importlib", "import_module"), text("os"))
    new = pickle.EMPTY_TUPLE + pickle.NEWOBJ
    bodies = {
        "os.system by REDUCE": b"cos\nsystem\n(S'" + line + b"'\ntR",
        "posix.system": called(named("posix", "system"), text(line.decode())),
        "eval": called(named("builtins", "eval"), text(source)),
        "exec, in Python 2's spelling": b"\x80\x02c__builtin__\neval\n(" + text(source) + b"tR",
        "nested globals": called(named("os.path", "os.mkdir"), text(path)),
        "getattr of an imported module": called(
            called(named("builtins", "getattr"), module, text("mkdir")), text(path)
        ),
        "a code object": called(
            called(
                named("types", "FunctionType"),
                called(named("marshal", "loads"), code),
                called(named("builtins", "dict")),
            )
        ),
        "Popen by INST": b"((lS'mkdir'\naS" + quoted + b"\naisubprocess\nPopen\n",
        "Popen by OBJ": b"(csubprocess\nPopen\n(lS'mkdir'\naS" + quoted + b"\nao",
        "mkdir by INST": b"(S" + quoted + b"\nios\nmkdir\n",
        "__setstate__ by BUILD": (
            named("argparse", "Namespace")
            + (new + b"}" + setstate + pickle.SETITEM + pickle.BUILD)
            + (text(path) + pickle.BUILD)
        ),
        "functools.partial": called(called(named("functools", "partial"), named("os", "mkdir"), text(path))),
        "timeit": called(
            named("timeit", "timeit"), text(source), text("pass"), named("time", "time"), b"K\x01"
        ),
        "a stream in the stream": called(from_bytes, data(inside.getvalue())),
        "a zip in the stream": called(from_bytes, data(zipped.getvalue())),
        "among what is expected": (
            b"}("
            + (text("g_ema") + called(named("os", "mkdir"), text(path)))
            + (text("G_ema") + called(named("torch_utils.persistence", "_reconstruct_persistent_obj"), b"}"))
            + (text("state_dict") + b"}" + text("latent_avg") + b"N" + text("opts") + b"}")
            + pickle.SETITEMS
        ),
    }
    return {name: START + body + pickle.STOP for name, body in bodies.items()}


def quiet() -> dict[str, bytes]:
    """Complete pickles that import, open or register something, without a trace on the disk."""
    bodies = {
        "an import by GLOBAL": b"cthis\nd\n",
        "an import by STACK_GLOBAL": named("this", "d"),
        "importlib": called(named("importlib", "import_module"), text("this")),
        "a browser": called(named("webbrowser", "open"), text("http://127.0.0.1:9/")),
        "__class__ by BUILD": named("collections", "OrderedDict")
        + b")R"
        + b"}"
        + (text("__class__") + named("builtins", "type") + pickle.SETITEM + pickle.BUILD),
        "__dict__ of a class by BUILD": named("builtins", "dict")
        + b"}"
        + (text("get") + named("builtins", "eval") + pickle.SETITEM + pickle.BUILD),
        "extension code 1": pickle.EXT1 + b"\x01",
        "extension code 2": pickle.EXT2 + b"\x01\x01",
        "extension code 4": pickle.EXT4 + b"\x01\x01\x01\x01",
        "a persistent reference": text("storage") + pickle.BINPERSID,
        "a persistent reference as text": pickle.PERSID + b"storage\n",
        "a buffer from outside": pickle.NEXT_BUFFER,
    }
    return {name: START + body + pickle.STOP for name, body in bodies.items()}


def bombs() -> dict[str, bytes]:
    """Small, complete pickles that describe more than memory or time allows."""
    twice = pickle.DUP + pickle.TUPLE2
    pairs = b"(" + b"".join(text(f"{i}") + b"N" + pickle.TUPLE2 for i in range(2000)) + b"l"
    ordered = called(named("collections", "OrderedDict"), b"h\x00") + pickle.POP
    torch_stream = io.BytesIO()
    torch.save(torch.zeros(20_000)._typed_storage(), torch_stream, _use_new_zipfile_serialization=False)
    unpack = named("torch.storage", "_load_from_bytes") + b"h\x00" + pickle.TUPLE1 + pickle.REDUCE
    bodies = {
        "lists of lists": b"]" + b"".join(b"(" + b"2" * 9 + b"l" for _ in range(40)),
        "a key of tuples of tuples": b"}" + b")" + twice * 60 + b"Ns",
        "a key of tuples of tuples, by the memo": b"})" + b"q\x00h\x00\x86" * 60 + b"Ns",
        "a set of tuples of tuples": b"\x8f(" + b")" + twice * 60 + b"\x90",
        "a dictionary of such keys": b"()" + twice * 60 + b"Nd",
        "keys that are numbers": b"}(" + b"".join(b"I%d\nN" % i for i in range(9000)) + b"u",
        "a key that is a long number": b"}"
        + pickle.LONG4
        + struct.pack("<i", 100_000)
        + b"\x01" * 100_000
        + b"Ns",
        "a key as long as a book": b"}" + text("x" * 1_000_000) + b"Ns",
        "a memo of 2³² places": b"N" + pickle.LONG_BINPUT + b"\xff\xff\xff\xff",
        "a memo of 10³⁰ places": b"N" + pickle.PUT + b"9" * 30 + b"\n",
        "a byte array of 2⁴⁰": pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 40),
        "bytes of 2⁴⁰": pickle.BINBYTES8 + struct.pack("<Q", 1 << 40),
        "a text of 2⁴⁰": pickle.BINUNICODE8 + struct.pack("<Q", 1 << 40),
        "a number of 2³¹ bytes": pickle.LONG4 + struct.pack("<i", 0x7FFFFFFF),
        "a number of negative length": pickle.LONG4 + struct.pack("<i", -1),
        "a number of many digits": pickle.INT + b"9" * 50_000 + b"\n",
        "a frame of 2⁶³": pickle.FRAME + struct.pack("<Q", 1 << 63) + b"N",
        "a line without end": pickle.GLOBAL + b"x" * 50_000,
        "bytearray(10¹⁵)": called(
            named("builtins", "bytearray"), pickle.LONG1 + b"\x07" + b"\x00" * 6 + b"\x01"
        ),
        "text times 10¹²": called(named("operator", "mul"), text("x"), b"\x8a\x06\x00\x10\xa5\xd4\xe8\x00"),
        "torch.Tensor(10¹²)": called(named("torch", "Tensor"), b"\x8a\x06\x00\x10\xa5\xd4\xe8\x00"),
        "deep lists": b"]" * 20_000 + b"a" * 19_999,
        "deep marks": b"(" * 20_000 + b"t" * 20_000,
        "deep records": named("a", "b") + b")\x81" + (named("a", "b") + b")\x81") * 5_000 + b"b" * 5_000,
        "itself": b"]\x94h\x00a",
        "one list of pairs, made a dictionary again and again": pairs + b"q\x000" + ordered * 1500 + b"N",
        "one storage, unpacked again and again": data(torch_stream.getvalue()) + b"q\x000" + unpack * 3000,
    }
    return {name: START + body + pickle.STOP for name, body in bodies.items()}


def plain(stream: bytes, path: Path) -> None:
    """The pickle unchanged."""
    path.write_bytes(stream)


def legacy(stream: bytes, path: Path) -> None:
    """The pickle in PyTorch's older format."""
    rest = pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    path.write_bytes(MAGIC + rest + stream + pickle.dumps([], 2))


def torch_zip(stream: bytes, path: Path) -> None:
    """The pickle in PyTorch's newer format."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", stream)
        archive.writestr("model/byteorder", "little")
        archive.writestr("model/version", "3\n")


def torchscript(stream: bytes, path: Path) -> None:
    """The pickle in a TorchScript archive."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", stream)
        archive.writestr("model/code/__torch__.py", "import os\n")
        archive.writestr("model/constants.pkl", stream)
        archive.writestr("model/version", "3\n")


def crowded_zip(stream: bytes, path: Path) -> None:
    """A zip with far too many entries in its directory."""
    torch_zip(stream, path)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(50_000):
            archive.writestr(f"model/data/{number:060}", "")


FORMS = {"pickle": plain, "legacy": legacy, "zip": torch_zip, "torchscript": torchscript}
