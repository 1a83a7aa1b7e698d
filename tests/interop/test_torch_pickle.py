"""Pickles that are damaged, hostile, or make anything but a dict of tensors."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.interop import read_torch_file
from tests.interop.pt_files import (
    EMPTY,
    assert_same_bits,
    numbers,
    pickled,
    read_or_refuse,
    refused,
    storage,
    tensor,
    text,
)


def test_the_pieces_of_the_tests_below_make_a_tensor(zipped: Callable[..., Path]) -> None:
    read = read_torch_file(zipped(pickled(tensor())))
    assert_same_bits(read, {"w": np.zeros(4, np.float32)})


class Evil:
    """Unpickling it calls `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_code_runs(zipped: Callable[..., Path], tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / "witness"
    for value in (Evil(os.mkdir, str(witness)), Evil(eval, f"open({str(witness)!r}, 'w')")):
        refused(zipped(pickle.dumps({"w": value}, protocol)))
        refused(zipped(pickle.dumps(value, protocol)))
    assert not witness.exists()


@pytest.mark.parametrize(
    "name",
    [
        b"os\nsystem", b"posix\nsystem", b"builtins\neval", b"builtins\ngetattr", b"torch\nload",
        b"torch._utils\n_rebuild_parameter", b"torch.serialization\nload", b"numpy\nndarray",
        b"torch\nFloatStorage.__init__", b"torch\nUntypedStorage", b"collections\nnamedtuple",
        b"torch._utils\n_rebuild_tensor", b"\n", b"x" * 300 + b"\n", b"\xff\n",
    ],
)  # fmt: skip
def test_no_other_global_is_admitted(zipped: Callable[..., Path], name: bytes) -> None:
    refused(zipped(pickled(b"c" + name + b"\n)R")), "asks for|codec|opcode")
    refused(zipped(b"\x80\x02c" + name + b"\n."), "asks for|codec|opcode")


def _nested_tuples() -> bytes:
    # Its hash, as a key, would take 2**60 steps.
    return b"\x80\x02})" + b"q\0h\0\x86" * 60 + b"K\x01s."


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"", "ends too soon"),
        (b"\x80\x02", "ends too soon"),
        (b"\x80\x02.", "more values"),
        (b"\x80\x02}", "ends too soon"),
        (b"\x80\x02K\x07.", "a int in the place"),
        (b"\x80\x02)R.", "more values"),
        (b"\x80\x02(}t.", "a tuple in the place"),
        (b"\x80\x02t.", "more values"),
        (b"\x80\x02}(u(.", "more values"),
        (b"\x80\x02q\0}.", "more values"),
        (b"\x80\x02h\0.", "more values"),
        (b"\x80\x02j\xff\xff\xff\xff.", "more values"),
        (b"\x80\x02}r\xff\xff\xff\xffX\xff\xff\xff\xff.", "ends too soon"),
        (b"\x80\x02}(K\x01K\x02u.", "no names"),
        (b"\x80\x02}(" + text("a") + b"u.", "no names"),
        (b"\x80\x02" + text("a") + text("a") + text("a") + b"s.", "str in the place"),
        (_nested_tuples(), "no names"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.", "no tensor"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "no tensor"),
        (b"\x80\x02))R.", "no tensor"),
        (b"\x80\x02)Q.", "storage that is not torch's"),
        (b"\x80\x02]q\0h\0a.", "opcode"),
        (b"\x80\x02\x96" + b"\xff" * 8 + b".", "opcode"),
        (b"\x80\x02\x8e" + b"\xff" * 8 + b".", "opcode"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "opcode"),
        (b"\x80\x02S'\\d'\n.", "opcode"),
        (b"\x80\x02X\x01\0\0\0\xff.", "codec"),
        (b"\x80\x05.", "protocol 5"),
        (b"}q\0(" + text("w") + b"h\0u.", "'w' is a dict"),
        (pickled(b"K\x01"), "'w' is a int"),
        (pickled(EMPTY), "'w' is a dict"),
        (pickled(storage()), "'w' is a Storage"),
        (b"\x80\x02" + tensor() + b".", "ndarray in the place of a dict"),
        (b"\x80\x02" + tensor() + b"}b.", "ndarray in the place of a dict"),
        (pickled(tensor() + b")R"), "no tensor"),
        (pickled(b"(" + tensor() + b"tQ"), "storage that is not torch's"),
    ],
)
def test_damaged_pickles(zipped: Callable[..., Path], program: bytes, message: str) -> None:
    refused(zipped(program), message)


def test_a_pickle_too_long_for_a_state_dict(zipped: Callable[..., Path]) -> None:
    refused(zipped(b"\x80\x02" + b"}" * 2**22), "a pickle of 4,194,306 bytes")


PIECES = [
    *[bytes([i]) for i in b"\x80\x02().}]RQtus\x85\x86\x87\x88\x89Kqhcb"], text("0"), text("w"),
    text("cpu"), text("storage"), storage(), tensor(), numbers(), numbers(4), numbers(2**31 - 1),
    b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", EMPTY, b"cos\nsystem\n",
    b"K\0", b"K\x04", b"q\0", b"h\0", b"J\xff\xff\xff\xff", b"r\xff\xff\xff\xff",
    b"X\xff\xff\xff\x7f",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.binary(max_size=40))
def test_any_program(tmp_path_factory: Any, pieces: list[bytes], raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "program.pt"
    for program in (b"\x80\x02" + b"".join(pieces) + b".", raw):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/data/0", bytes(16))
        read_or_refuse(path, path.read_bytes())
