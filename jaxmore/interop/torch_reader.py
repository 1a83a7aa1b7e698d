r"""PyTorch's .pt files without PyTorch: read with suspicion, written with care.

`torch.save` of a state dict makes a zip without compression:

    model/data.pkl    the dict, pickled: each tensor says its storage, offset, shape and strides
    model/data/0      the storages: numbers and nothing else
    model/data/1 ...
    model/byteorder   "little"

A pickle is a program, and even with `find_class` restricted `pickle.Unpickler` runs one that takes
all memory (a memo index of 2**32) or all time (the hash of a nest of tuples). So what a dict of
tensors needs of it is interpreted here, opcode by opcode. That makes tuples, dicts, strings,
integers, booleans and tensors, and calls nothing.

Source: PyTorch's torch/serialization.py and torch/_utils.py; CPython's pickletools.py, which
documents the opcodes.
"""

import io
import math
import os
import pickle
import reprlib
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxmore.errors import InputError
from jaxmore.files import write_atomically

__all__ = ["read_torch_file", "write_torch_file"]

DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("<i8"),
}
"""PyTorch's storage classes and the dtype of each."""

# The pickle takes some 200 bytes for a tensor.
LONGEST_PICKLE = 2**22
LONGEST_NAME = 255
MOST_AXES = 64  # NumPy's own limit


class _Global(NamedTuple):
    """A name in a pickle. Nothing is ever imported by it."""

    module: str
    name: str


ORDERED_DICT = _Global("collections", "OrderedDict")
REBUILD_TENSOR = _Global("torch._utils", "_rebuild_tensor_v2")
ADMITTED = {ORDERED_DICT, REBUILD_TENSOR, *(_Global("torch", name) for name in DTYPES)}

TOO_LITTLE = "its pickle takes more values than it has made"


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read a dict of tensors that `torch.save` has written.

    No code of the file runs, and it takes no more memory than a few times the file's size.

    Args:
        path: a .pt file as PyTorch has written them since 1.6, which is a zip.

    Returns:
        The tensors by their names, in the order of the file: float32, float64, float16, bfloat16
        or int64, C-contiguous, bit for bit. Whatever device they were on is forgotten.

    Raises:
        InputError: the file cannot be read, is damaged or of another kind, or holds anything but
            a dict of such tensors.
    """
    name = repr(os.fspath(path))
    try:
        with zipfile.ZipFile(path) as archive:
            return _tensors(_Archive(archive, os.stat(path).st_size))
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{name} is no .pt file of PyTorch 1.6 or later: {error}") from error
    # Besides ValueError, what zipfile raises for a feature that it lacks, a password, an end too
    # soon, a field that makes no sense.
    except (ValueError, RuntimeError, EOFError, OverflowError, struct.error) as error:
        raise InputError(f"{name} is no dict of tensors: {error}") from error


def write_torch_file(path: str | os.PathLike[str], tensors: Mapping[str, npt.ArrayLike]) -> None:
    """Write a dict of tensors that `torch.load(path, weights_only=True)` reads.

    The file appears whole or not at all. The same tensors give the same bytes.

    Args:
        path: the file, by custom with the suffix .pt.
        tensors: arrays by their names, in the dtypes of `read_torch_file`; written bit for bit.

    Raises:
        InputError: the file cannot be written.
        ValueError: an array has another dtype, or 2**31 elements or more.
    """
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        # Bare names would bring in today's date.
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), _pickled(arrays))
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
        for key, array in enumerate(arrays.values()):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), array.tobytes())
    try:
        write_atomically(Path(path), content.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from error


# -------------------------------------------------------------------------------------- reading


class _Storage(NamedTuple):
    content: bytes
    dtype: np.dtype[Any]


class _Archive:
    """The members of a zip, and the storages and tensors that its pickle asks for."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._members = _members(archive, size)
        self._bytes_left = size
        self._storages: dict[str, bytes] = {}

    def member(self, name: str, default: bytes | None = None) -> bytes:
        """The content of a member, which must have the checksum that the zip gives."""
        if name in self._members:
            return self._archive.read(self._members[name])
        if default is None:
            raise ValueError(f"{name} is missing")
        return default

    def storage(self, identity: Any) -> _Storage:
        """Of ("storage", its class, its key, its device, the number of its elements)."""
        match identity:
            case (str(), _Global("torch", kind), str(key), str(), int(n)):
                dtype = DTYPES[kind]
            case _:
                raise ValueError("a storage that is not torch's")
        if not (key.isascii() and key.isdigit()):
            raise ValueError(f"a storage is called {reprlib.repr(key)}")
        if key not in self._storages:
            self._storages[key] = self.member(f"data/{key}")
        content = self._storages[key]
        if len(content) != n * dtype.itemsize:
            raise ValueError(
                f"storage {reprlib.repr(key)} has {len(content):,} bytes, "
                f"declares {n * dtype.itemsize:,}"
            )
        return _Storage(content, dtype)

    def tensor(self, arguments: Any) -> npt.NDArray[Any]:
        """Of (storage, offset, shape, strides, requires_grad, backward_hooks)."""
        match arguments:
            case (_Storage() as storage, int(offset), tuple(), tuple(), bool(), dict()):
                content, dtype = storage
                shape, strides = (cast(tuple[Any, ...], sizes) for sizes in arguments[2:4])
            case _:
                raise ValueError("a tensor that is not torch's")
        if len(shape) != len(strides) or len(shape) > MOST_AXES:
            raise ValueError(f"a tensor has {len(shape)} axes and {len(strides)} strides")
        if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)):
            raise ValueError("a tensor has a size that is no number, or negative")
        n_bytes = math.prod(shape) * dtype.itemsize
        # Strides of 0, or many tensors of one storage, would make any amount out of a few bytes.
        if n_bytes > self._bytes_left:
            raise ValueError("the tensors are larger than the file")
        self._bytes_left -= n_bytes
        if not n_bytes:
            return np.zeros(shape, dtype)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if (last + 1) * dtype.itemsize > len(content):
            raise ValueError("a tensor reaches beyond its storage")
        byte_strides = [stride * dtype.itemsize for stride in strides]
        view = np.ndarray(shape, dtype, content, offset * dtype.itemsize, byte_strides)
        return view.copy(order="C")


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members under their names inside the one folder. Nothing of them inflates."""
    members: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for info in archive.infolist():
        # orig_filename: zipfile cuts what follows a NUL, and replaces the system's separator.
        path = info.orig_filename
        parts = path.split("/")
        if {"", ".", ".."} & set(parts) or len(path) > LONGEST_NAME or {"\\", "\0"} & set(path):
            raise ValueError(f"the zip has a member called {reprlib.repr(path)}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"{reprlib.repr(path)} is compressed, as nothing in a .pt file is")
        name = "/".join(parts[1:])
        if name in members:
            raise ValueError(f"the zip has two members called {reprlib.repr(path)}")
        members[name] = info
        folders.add(parts[0])
    if sum(info.file_size for info in members.values()) > size:
        raise ValueError("its members are larger than the file: they overlap")
    if len(folders) != 1:
        raise ValueError(f"the zip has {len(folders)} folders at its top, expected one")
    return members


class _Machine:
    """The stack machine that a pickle runs on, as far as tensors need it."""

    def __init__(self, program: bytes) -> None:
        self._program = io.BytesIO(program)
        self._stack: list[Any] = []
        self._marks: list[int] = []

    def take(self, n: int) -> bytes:
        """The next n bytes of the program."""
        taken = self._program.read(n)
        if len(taken) < n:
            raise ValueError("its pickle ends too soon")
        return taken

    def number(self, form: str) -> int:
        """The next bytes of the program as a little-endian number."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The next line of the program, without its end."""
        return self._program.readline(LONGEST_NAME).decode().removesuffix("\n")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self, n: int) -> tuple[Any, ...]:
        """The last n values on the stack, above the last mark."""
        bottom = self._marks[-1] if self._marks else 0
        if len(self._stack) - n < bottom:
            raise ValueError(TOO_LITTLE)
        values = self._stack[len(self._stack) - n :]
        del self._stack[len(self._stack) - n :]
        return tuple(values)

    def mark(self) -> None:
        """Remember this height of the stack."""
        self._marks.append(len(self._stack))

    def pop_to_mark(self) -> tuple[Any, ...]:
        """All values above the last mark, and the mark itself."""
        if not self._marks:
            raise ValueError(TOO_LITTLE)
        values = self.pop(len(self._stack) - self._marks[-1])
        self._marks.pop()
        return values

    def pop_dict(self) -> dict[str, Any]:
        """The last value on the stack, which must be a dict."""
        (value,) = self.pop(1)
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__} in the place of a dict")
        return cast(dict[str, Any], value)


def _tensors(archive: _Archive) -> dict[str, npt.NDArray[Any]]:
    """Run the pickle of an archive; the dict of tensors that it makes."""
    if archive.member("byteorder", b"little") != b"little":
        raise ValueError("its byte order is not little-endian")
    program = archive.member("data.pkl")
    if len(program) > LONGEST_PICKLE:
        raise ValueError(f"a pickle of {len(program):,} bytes")
    machine, memo = _Machine(program), dict[int, Any]()
    while (opcode := machine.take(1)) != pickle.STOP:
        match opcode:
            case pickle.PROTO:
                if (protocol := machine.number("B")) != 2:
                    raise ValueError(f"pickle protocol {protocol}, torch.save's own is 2")
            case pickle.NEWFALSE:
                machine.push(False)
            case pickle.NEWTRUE:
                machine.push(True)
            case pickle.BININT:
                machine.push(machine.number("i"))
            case pickle.BININT1:
                machine.push(machine.number("B"))
            case pickle.BININT2:
                machine.push(machine.number("H"))
            case pickle.BINUNICODE:
                machine.push(machine.take(machine.number("I")).decode())
            case pickle.MARK:
                machine.mark()
            case pickle.EMPTY_TUPLE:
                machine.push(())
            case pickle.TUPLE1:
                machine.push(machine.pop(1))
            case pickle.TUPLE2:
                machine.push(machine.pop(2))
            case pickle.TUPLE3:
                machine.push(machine.pop(3))
            case pickle.TUPLE:
                machine.push(machine.pop_to_mark())
            case pickle.EMPTY_DICT:
                machine.push({})
            case pickle.SETITEM | pickle.SETITEMS:
                items = machine.pop(2) if opcode == pickle.SETITEM else machine.pop_to_mark()
                names, values = items[::2], items[1::2]
                if len(names) != len(values) or not all(isinstance(name, str) for name in names):
                    raise ValueError("a dict with keys that are no names")
                target = machine.pop_dict()
                target.update(zip(names, values, strict=True))
                machine.push(target)
            case pickle.BINPUT | pickle.LONG_BINPUT:
                (value,) = machine.pop(1)
                machine.push(value)
                memo[machine.number("B" if opcode == pickle.BINPUT else "I")] = value
            case pickle.BINGET | pickle.LONG_BINGET:
                place = machine.number("B" if opcode == pickle.BINGET else "I")
                if place not in memo:
                    raise ValueError(TOO_LITTLE)
                machine.push(memo[place])
            case pickle.GLOBAL:
                named = _Global(machine.line(), machine.line())
                if named not in ADMITTED:
                    raise ValueError(f"it asks for {'.'.join(named)[:LONGEST_NAME]!r}")
                machine.push(named)
            case pickle.BINPERSID:
                machine.push(archive.storage(*machine.pop(1)))
            case pickle.REDUCE:
                match machine.pop(2):
                    case (_Global("collections", "OrderedDict"), ()):
                        machine.push({})
                    case (_Global("torch._utils", "_rebuild_tensor_v2"), arguments):
                        machine.push(archive.tensor(arguments))
                    case _:
                        raise ValueError("it makes an object that is no tensor")
            case pickle.BUILD:
                machine.pop(1)  # _metadata: the versions of torch's modules
                machine.push(machine.pop_dict())
            case _:
                raise ValueError(f"it has pickle opcode {opcode!r}, which makes no tensor")
    tensors = machine.pop_dict()
    for name, tensor in tensors.items():
        if not isinstance(tensor, np.ndarray):
            raise ValueError(f"{reprlib.repr(name)} is a {type(tensor).__name__}")
    return tensors


# -------------------------------------------------------------------------------------- writing


def _pickled(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The state dict as torch.save pickles it, less the memo, of which nothing depends."""
    classes = {dtype: name for name, dtype in DTYPES.items()}
    ordered_dict = _global(*ORDERED_DICT) + pickle.EMPTY_TUPLE + pickle.REDUCE
    program = [pickle.PROTO, b"\x02", ordered_dict, pickle.MARK]
    for key, (name, array) in enumerate(arrays.items()):
        if array.dtype not in classes:
            raise ValueError(f"{name}: no {array.dtype} in a .pt file, only {[*map(str, classes)]}")
        if array.size >= 2**31:
            raise ValueError(f"{name} has {array.size:,} elements, 2**31 - 1 are the most")
        storage = [
            _text("storage"),
            _global("torch", classes[array.dtype]),
            _text(str(key)),
            _text("cpu"),
            _integer(array.size),
        ]
        strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        tensor = [
            _tuple(storage) + pickle.BINPERSID,
            _integer(0),
            _tuple(map(_integer, array.shape)),
            _tuple(map(_integer, strides)),
            pickle.NEWFALSE,
            ordered_dict,
        ]
        program += [_text(name), _global(*REBUILD_TENSOR), _tuple(tensor), pickle.REDUCE]
    return b"".join([*program, pickle.SETITEMS, pickle.STOP])


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text.encode())) + text.encode()


def _integer(n: int) -> bytes:
    return pickle.BININT + struct.pack("<i", n)


def _tuple(values: Iterable[bytes]) -> bytes:
    return pickle.MARK + b"".join(values) + pickle.TUPLE
