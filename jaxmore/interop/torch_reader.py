"""Read .pt files without PyTorch.

`torch.save` writes a state dict as a zip without compression:

    model/data.pkl    the dict, pickled: each tensor states its storage, offset, shape and strides
    model/data/0      the storages: numbers and nothing else
    model/data/1 ...
    model/byteorder   "little"

Source: PyTorch's torch/serialization.py and torch/_utils.py.
"""

import math
import os
import reprlib
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from jaxmore.errors import InputError
from jaxmore.files import check_regular
from jaxmore.interop.torch_pickle import DTYPES, MAX_NAME_LENGTH, GlobalName, unpickle_tensors

__all__ = ["read_torch_file"]

MAX_AXES = 64  # NumPy's own limit


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read a dict of tensors that `torch.save` has written.

    No code of the file runs, and reading takes at most a few times the file's size in memory.

    Args:
        path: a .pt file of PyTorch 1.6 or later, which is a zip.

    Returns:
        The tensors by their names, in the order of the file: float32, float64, float16, bfloat16
        or int64, C-contiguous, bit for bit. The device they were on is not kept.

    Raises:
        InputError: the file cannot be read, is damaged or of another kind, or holds anything but
            a dict of such tensors.
    """
    name = repr(os.fspath(path))
    try:
        check_regular(Path(path))
        with zipfile.ZipFile(path) as archive:
            return _TensorArchive(archive, os.stat(path).st_size).read_tensors()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{name} is no .pt file of PyTorch 1.6 or later: {error}") from error
    # Besides ValueError, what zipfile raises for an unsupported feature, a password, an early end
    # of the file or a field that makes no sense.
    except (ValueError, RuntimeError, EOFError, OverflowError, struct.error) as error:
        raise InputError(f"{name} is no dict of tensors: {error}") from error


class Storage(NamedTuple):
    """The bytes of a storage and the dtype of its elements."""

    content: bytes
    dtype: np.dtype[Any]


class _TensorArchive:
    """The members of the zip, and the storages and tensors that its pickle refers to."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._members = _members(archive, size)
        self._bytes_left = size
        self._storages: dict[str, bytes] = {}

    def read_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Read the dict of tensors."""
        if self._read_member("byteorder", b"little") != b"little":
            raise ValueError("its byte order is not little-endian")
        return unpickle_tensors(
            self._read_member("data.pkl"), self._load_storage, self._rebuild_tensor
        )

    def _read_member(self, name: str, default: bytes | None = None) -> bytes:
        """Read a member; zipfile compares its checksum."""
        if name in self._members:
            return self._archive.read(self._members[name])
        if default is None:
            raise ValueError(f"{name} is missing")
        return default

    def _load_storage(self, persistent_id: Any) -> Storage:
        """Load the storage of ("storage", class, key, device, number of elements)."""
        match persistent_id:
            case (str(), GlobalName("torch", kind), str(key), str(), int(n)):
                dtype = DTYPES[kind]
            case _:
                raise ValueError("a storage that is not torch's")
        if not (key.isascii() and key.isdigit()):
            raise ValueError(f"a storage is called {reprlib.repr(key)}")

        if key not in self._storages:
            self._storages[key] = self._read_member(f"data/{key}")
        content = self._storages[key]
        if len(content) != n * dtype.itemsize:
            raise ValueError(
                f"storage {reprlib.repr(key)} has {len(content):,} bytes, "
                f"declares {n * dtype.itemsize:,}"
            )
        return Storage(content, dtype)

    def _rebuild_tensor(self, arguments: Any) -> npt.NDArray[Any]:
        """Make the tensor of (storage, offset, shape, strides, requires_grad, backward_hooks)."""
        match arguments:
            case (Storage() as storage, int(offset), tuple(), tuple(), bool(), dict()):
                content, dtype = storage
                shape, strides = (cast(tuple[Any, ...], sizes) for sizes in arguments[2:4])
            case _:
                raise ValueError("a tensor that is not torch's")
        if len(shape) != len(strides) or len(shape) > MAX_AXES:
            raise ValueError(f"a tensor has {len(shape)} axes and {len(strides)} strides")
        if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)):
            raise ValueError("a tensor has a size that is no number, or negative")
        n_bytes = math.prod(shape) * dtype.itemsize
        # Strides of 0, or many tensors that share a storage, turn a few bytes into any amount.
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
    """List the members by their names inside the one folder; refuse what could inflate."""
    members: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for info in archive.infolist():
        # orig_filename: zipfile cuts what follows a NUL, and replaces the system's separator.
        path = info.orig_filename
        parts = path.split("/")
        if {"", ".", ".."} & set(parts) or len(path) > MAX_NAME_LENGTH or {"\\", "\0"} & set(path):
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
