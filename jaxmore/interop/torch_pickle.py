"""The pickle inside a .pt file: an interpreter for the opcodes that a dict of tensors needs.

A pickle is a program. Even with a restricted `find_class`, `pickle.Unpickler` runs programs that
take all memory (a memo index of 2**32) or all time (the hash of nested tuples). This interpreter
makes tuples, dicts, strings, integers, booleans and tensors, and calls nothing else.

Source: PyTorch's torch/serialization.py and torch/_utils.py; CPython's pickletools.py, which
documents the opcodes.
"""

import io
import pickle
import reprlib
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt


class GlobalName(NamedTuple):
    """A module attribute that a pickle refers to. It is compared, never imported."""

    module: str
    name: str


DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("<i8"),
}
"""PyTorch's storage classes and their dtypes."""

ORDERED_DICT = GlobalName("collections", "OrderedDict")
REBUILD_TENSOR = GlobalName("torch._utils", "_rebuild_tensor_v2")
ALLOWED_GLOBALS = {ORDERED_DICT, REBUILD_TENSOR, *(GlobalName("torch", name) for name in DTYPES)}

MAX_NAME_LENGTH = 255
MAX_PICKLE_BYTES = 2**22  # a tensor takes about 200 bytes
STACK_UNDERFLOW = "its pickle takes more values than it has made"


class StackMachine:
    """The program of a pickle, its stack and its marks."""

    def __init__(self, program: bytes) -> None:
        self._program = io.BytesIO(program)
        self._stack: list[Any] = []
        self._marks: list[int] = []

    def read(self, n: int) -> bytes:
        """Read the next n bytes of the program."""
        content = self._program.read(n)
        if len(content) < n:
            raise ValueError("its pickle ends too soon")
        return content

    def read_number(self, form: str) -> int:
        """Read a little-endian number; `form` is its format character in `struct`."""
        return struct.unpack(f"<{form}", self.read(struct.calcsize(form)))[0]

    def read_line(self) -> str:
        """Read the next line of the program, without its end."""
        return self._program.readline(MAX_NAME_LENGTH).decode().removesuffix("\n")

    def push(self, value: Any) -> None:
        """Push a value."""
        self._stack.append(value)

    def pop(self, n: int) -> tuple[Any, ...]:
        """Pop the last n values, which must lie above the last mark."""
        bottom = self._marks[-1] if self._marks else 0
        if len(self._stack) - n < bottom:
            raise ValueError(STACK_UNDERFLOW)
        values = self._stack[len(self._stack) - n :]
        del self._stack[len(self._stack) - n :]
        return tuple(values)

    def mark(self) -> None:
        """Mark the current height of the stack."""
        self._marks.append(len(self._stack))

    def pop_to_mark(self) -> tuple[Any, ...]:
        """Pop all values above the last mark, and the mark."""
        if not self._marks:
            raise ValueError(STACK_UNDERFLOW)
        values = self.pop(len(self._stack) - self._marks[-1])
        self._marks.pop()
        return values

    def pop_dict(self) -> dict[str, Any]:
        """Pop the last value, which must be a dict."""
        (value,) = self.pop(1)
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__} in the place of a dict")
        return cast(dict[str, Any], value)


def unpickle_tensors(
    program: bytes,
    load_storage: Callable[[Any], Any],
    rebuild_tensor: Callable[[Any], npt.NDArray[Any]],
) -> dict[str, npt.NDArray[Any]]:
    """Run a pickle that makes a dict of tensors.

    Args:
        program: the pickle, protocol 2.
        load_storage: returns the storage for a persistent id.
        rebuild_tensor: returns the tensor for the arguments of `_rebuild_tensor_v2`.

    Returns:
        The tensors by name, in the order of the pickle.

    Raises:
        ValueError: the pickle is too long, damaged, or makes anything else.
    """
    if len(program) > MAX_PICKLE_BYTES:
        raise ValueError(f"a pickle of {len(program):,} bytes")
    machine, memo = StackMachine(program), dict[int, Any]()
    while (opcode := machine.read(1)) != pickle.STOP:
        match opcode:
            case pickle.PROTO:
                if (protocol := machine.read_number("B")) != 2:
                    raise ValueError(f"pickle protocol {protocol}, torch.save's own is 2")
            case pickle.NEWFALSE:
                machine.push(False)
            case pickle.NEWTRUE:
                machine.push(True)
            case pickle.BININT:
                machine.push(machine.read_number("i"))
            case pickle.BININT1:
                machine.push(machine.read_number("B"))
            case pickle.BININT2:
                machine.push(machine.read_number("H"))
            case pickle.BINUNICODE:
                machine.push(machine.read(machine.read_number("I")).decode())
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
                memo[machine.read_number("B" if opcode == pickle.BINPUT else "I")] = value
            case pickle.BINGET | pickle.LONG_BINGET:
                place = machine.read_number("B" if opcode == pickle.BINGET else "I")
                if place not in memo:
                    raise ValueError(STACK_UNDERFLOW)
                machine.push(memo[place])
            case pickle.GLOBAL:
                name = GlobalName(machine.read_line(), machine.read_line())
                if name not in ALLOWED_GLOBALS:
                    raise ValueError(f"it asks for {'.'.join(name)[:MAX_NAME_LENGTH]!r}")
                machine.push(name)
            case pickle.BINPERSID:
                machine.push(load_storage(*machine.pop(1)))
            case pickle.REDUCE:
                match machine.pop(2):
                    case (GlobalName("collections", "OrderedDict"), ()):
                        machine.push({})
                    case (GlobalName("torch._utils", "_rebuild_tensor_v2"), arguments):
                        machine.push(rebuild_tensor(arguments))
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
