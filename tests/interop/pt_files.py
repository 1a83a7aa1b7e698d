"""What the tests of .pt files share: tensors of every dtype, and pickles put together by hand."""

import pickle
import struct
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.errors import InputError
from jaxmore.interop import read_torch_file

DTYPES = [np.dtype(d) for d in ("float32", "float64", "float16", jnp.bfloat16, "int64")]


def tensors() -> dict[str, np.ndarray]:
    """Every dtype and odd shapes; the bits are random, so NaN and infinity are among them."""
    rng = np.random.default_rng(0)
    shapes = [(), (1,), (0,), (3, 0, 2), (2, 3), (5, 1, 4), (70, 70)]
    return {
        f"{dtype}.{i}": np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype)
        .reshape(shape)
        .copy()
        for dtype in DTYPES
        for i, shape in enumerate(shapes)
    }


def assert_same_bits(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name


def refused(path: Path, message: str | None = None) -> None:
    """It is refused in one short line, and without much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as error:
            read_torch_file(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24 + 8 * path.stat().st_size
    finally:
        tracemalloc.stop()
    line = str(error.value)
    assert path.name in line
    assert len(line.splitlines()) == 1
    assert len(line) < 500 + len(str(path))


def read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    read, message = {}, "one line"
    try:
        read = read_torch_file(path)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert sum(array.nbytes for array in read.values()) <= len(content)


def text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text)) + text.encode()


def numbers(*sizes: int) -> bytes:
    return b"(" + b"".join(pickle.BININT + struct.pack("<i", n) for n in sizes) + b"t"


EMPTY = b"ccollections\nOrderedDict\n)R"


def storage(
    kind: bytes = b"ctorch\nFloatStorage\n", key: bytes = text("0"), n: bytes = b"K\x04"
) -> bytes:
    return b"(" + text("storage") + kind + key + text("cpu") + n + b"tQ"


def tensor(
    storage: bytes = storage(),
    offset: bytes = b"K\0",
    shape: bytes = numbers(4),
    strides: bytes = numbers(1),
    rest: bytes = b"\x89" + EMPTY,
) -> bytes:
    arguments = b"(" + storage + offset + shape + strides + rest + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02}(" + text("w") + value + b"u."
