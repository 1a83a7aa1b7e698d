"""Archives and tensors that do not fit, and files of another kind: refused in one line."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.errors import InputError
from jaxmore.interop import read_torch_file, write_torch_file
from tests.interop.pt_files import (
    EMPTY,
    numbers,
    pickled,
    read_or_refuse,
    refused,
    storage,
    tensor,
    text,
)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor(shape=numbers(5)), "beyond its storage"),
        (tensor(offset=b"K\x01"), "beyond its storage"),
        (tensor(offset=numbers(-1)[1:-1]), "negative"),
        (tensor(offset=numbers(2**31 - 1)[1:-1]), "beyond its storage"),
        (tensor(shape=numbers(2), strides=numbers(4)), "beyond its storage"),
        (tensor(shape=numbers(2), strides=numbers(2**31 - 1)), "beyond its storage"),
        (tensor(shape=numbers(2), strides=numbers(-1)), "negative"),
        (tensor(shape=numbers(-1)), "negative"),
        (tensor(shape=numbers(-2, -2), strides=numbers(1, 1)), "negative"),
        (tensor(shape=numbers(2**31 - 1), strides=numbers(0)), "larger than the file"),
        (tensor(shape=numbers(*[2**31 - 1] * 60), strides=numbers(*[0] * 60)), "larger than"),
        (tensor(shape=numbers(2, 2)), "2 axes and 1 strides"),
        (tensor(shape=numbers(*[1] * 65), strides=numbers(*[1] * 65)), "65 axes"),
        (tensor(shape=numbers(*[2**31 - 1] * 9000)), "9000 axes"),
        (tensor(shape=b"(" + text("4") + b"t"), "no number"),
        (tensor(shape=b"((K\x04tt"), "no number"),
        (tensor(shape=b"K\x04"), "tensor that is not torch's"),
        (tensor(shape=numbers(0, *[2**31 - 1] * 8), strides=numbers(*[1] * 9)), None),
        (tensor(rest=b"\x89"), "tensor that is not torch's"),
        (tensor(rest=b"K\0" + EMPTY), "tensor that is not torch's"),
        (tensor(rest=b"\x89)"), "tensor that is not torch's"),
        (tensor(storage=b"K\0"), "tensor that is not torch's"),
        (tensor(storage=storage(n=b"K\x05")), "has 16 bytes, declares 20"),
        (tensor(storage=storage(n=numbers(-4)[1:-1])), "has 16 bytes, declares -16"),
        (tensor(storage=storage(n=numbers(2**31 - 1)[1:-1])), "declares 8,589,934,588"),
        (tensor(storage=storage(kind=b"ctorch\nDoubleStorage\n")), "declares 32"),
        (tensor(storage=storage(kind=b"ctorch\nIntStorage\n")), "asks for 'torch.IntStorage'"),
        (tensor(storage=storage(kind=b"ccollections\nOrderedDict\n")), "storage that is not"),
        (tensor(storage=storage(kind=text("torch"))), "storage that is not"),
        (tensor(storage=storage(key=text("1"))), "data/1 is missing"),
        (tensor(storage=storage(key=text("../data.pkl"))), "called '../data.pkl'"),
        (tensor(storage=storage(key=text(""))), "called ''"),
        (tensor(storage=storage(key=b"K\0")), "storage that is not"),
    ],
)
def test_tensors_that_do_not_fit(zipped: Callable[..., Path], value: bytes, message: str) -> None:
    refused(zipped(pickled(value)), message)


def test_many_tensors_of_one_storage(zipped: Callable[..., Path]) -> None:
    # Each of 64 kB in 200 bytes.
    one = tensor(storage=storage(n=numbers(2**14)[1:-1]), shape=numbers(2**14))
    program = pickled(one + b"".join(text(f"w{i}") + one for i in range(9)))
    refused(zipped({"a/data.pkl": program, "a/data/0": bytes(2**16)}), "larger than the file")


GOOD = {"archive/data.pkl": pickled(tensor()), "archive/data/0": bytes(16)}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "0 folders"),
        ({"archive/data/0": b""}, "data.pkl is missing"),
        ({"data.pkl": pickled(tensor()), "data/0": bytes(16)}, "is missing|2 folders"),
        ({"archive/data.pkl": pickled(tensor())}, "data/0 is missing"),
        (GOOD | {"archive/byteorder": b"big"}, "byte order"),
        (GOOD | {"other/data/1": b""}, "2 folders"),
        (GOOD | {"../x": b""}, r"called '\.\./x'"),
        (GOOD | {"archive/../../x": b""}, "called"),
        (GOOD | {"/etc/x": b""}, "called '/etc/x'"),
        (GOOD | {"archive\\x": b""}, "called"),
        (GOOD | {"archive/./x": b""}, "called"),
        (GOOD | {"archive//x": b""}, "called"),
        (GOOD | {"archive/data/": b""}, "called"),
        (GOOD | {"archive/" + "x" * 60_000: b""}, "called"),
        (GOOD | {"archive/a\nb\\": b""}, "called"),
    ],
)
def test_members_that_no_such_zip_has(
    zipped: Callable[..., Path], members: dict[str, bytes], message: str
) -> None:
    refused(zipped(members), message)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_bombs(zipped: Callable[..., Path], compression: int) -> None:
    bomb = zipped(GOOD | {"archive/data/0": bytes(2**24)}, compression)
    assert bomb.stat().st_size < 2**16
    refused(bomb, "is compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for content in (*GOOD.items(), ("archive/data/0", b"\1" * 16)):
            archive.writestr(*content)
    refused(tmp_path / "a.pt", "two members called 'archive/data/0'")


def in_directory(content: bytes, member: str, place: int, value: bytes) -> bytes:
    """A zip with another value in a field of a member's entry in the central directory."""
    raw = bytearray(content)
    start = raw.rindex(member.encode()) - 46
    assert raw[start : start + 4] == b"PK\1\2"
    raw[start + place : start + place + len(value)] = value
    return bytes(raw)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (8, b"\x01\0"),  # encrypted
        (8, b"\x20\0"),  # patched
        (10, b"\x63\0"),  # a compression that nobody knows
        (16, b"\0\0\0\0"),  # another checksum
        (20, struct.pack("<II", 2**31, 2**31)),  # larger than the file
        (20, struct.pack("<II", 2**32 - 1, 2**32 - 1)),  # its size is elsewhere
        (24, struct.pack("<I", 2**31)),  # inflates
        (42, struct.pack("<I", 0)),  # begins where another one does
        (42, struct.pack("<I", 2**31)),  # begins after the end
    ],
)
def test_a_directory_that_lies(tmp_path: Path, place: int, value: bytes) -> None:
    write_torch_file(tmp_path / "a.pt", {"w": np.ones(4, np.float32)})
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(in_directory(content, "archive/data/0", place, value))
    refused(tmp_path / "a.pt")


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(tensor()))
        archive.writestr("archive/data/0", bytes(2**16))
        for i in range(64):
            archive.writestr(f"archive/data/{i + 1}", b"")
            archive.filelist[-1].file_size = archive.filelist[-1].compress_size = 2**16
            archive.filelist[-1].header_offset = archive.filelist[1].header_offset
    (tmp_path / "a.pt").write_bytes(content.getvalue())
    refused(tmp_path / "a.pt", "larger than the file|Overlapped")


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    refused_kinds = [b"", b"PK\3\4", pickle.dumps({"a": 1}), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P"]
    for content in refused_kinds:
        path.write_bytes(content)
        refused(path, "is no .pt file of PyTorch 1.6 or later")
    with pytest.raises(InputError, match=r"cannot read .*nowhere\.pt': No such file"):
        read_torch_file(tmp_path / "nowhere.pt")
    with pytest.raises(InputError, match="cannot read"):
        read_torch_file(tmp_path)
    with pytest.raises(InputError, match="null"):
        read_torch_file("a\0b")


def test_what_torch_saves_besides_is_refused(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for value in (
        torch.ones(2),
        [torch.ones(2)],
        {"model": {"w": torch.ones(2)}},
        {"w": torch.ones(2), "step": 3},
        {0: torch.ones(2)},
        {"w": torch.nn.Parameter(torch.ones(2))},
        {"w": torch.ones(2, dtype=torch.bool)},
        {"w": torch.ones(2, dtype=torch.complex64)},
        {"w": torch.ones(2).to_sparse()},
        torch.nn.Linear(2, 2),
    ):
        torch.save(value, path)
        refused(path, "no dict of tensors")
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    refused(path, "PyTorch 1.6 or later")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "a.pt"
    write_torch_file(path, {"w": np.arange(4.0), "b": np.ones((2, 2), np.float32)})
    return path.read_bytes()


def test_cut_off_anywhere(good: bytes, tmp_path: Path) -> None:
    for n in range(0, len(good), 3):
        (tmp_path / "a.pt").write_bytes(good[:n])
        refused(tmp_path / "a.pt")


@given(st.data())
def test_any_bytes_changed(good: bytes, tmp_path_factory: Any, data: st.DataObject) -> None:
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(tmp_path_factory.getbasetemp() / "changed.pt", bytes(content))
