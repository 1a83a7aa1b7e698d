"""Write .pt files that PyTorch loads, without PyTorch."""

import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.interop.torch_pickle import DTYPES, ORDERED_DICT, REBUILD_TENSOR

__all__ = ["write_torch_file"]


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
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), _pickle_tensors(arrays))
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
        for key, array in enumerate(arrays.values()):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), array.tobytes())
    try:
        write_atomically(Path(path), content.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from error


def _pickle_tensors(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
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
