"""PyTorch's files: what torch writes, we read; what we write, torch reads; the rest is refused."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmore.errors import InputError
from jaxmore.interop.torch_reader import read_torch_file, write_torch_file

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


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def to_torch(torch: Any, array: np.ndarray) -> Any:
    if array.dtype == DTYPES[3]:
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


def from_torch(torch: Any, tensor: Any) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(DTYPES[3])
    return tensor.numpy()


# ------------------------------------------------------------------------------- there and back


def test_there_and_back_bit_for_bit(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "a.pt", tensors())
    assert_same_bits(read_torch_file(tmp_path / "a.pt"), tensors())
    assert_same_bits(read_torch_file(str(tmp_path / "a.pt")), tensors())


def test_what_is_read_is_the_readers_own(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "a.pt", tensors())
    for array in read_torch_file(tmp_path / "a.pt").values():
        assert array.flags.owndata and array.flags.writeable and array.flags.c_contiguous


def test_the_same_tensors_give_the_same_bytes_with_the_usual_rights(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        write_torch_file(tmp_path / name, tensors())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "a.pt").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "b.pt", "other"]


def test_any_layout_and_jax_arrays_are_written(tmp_path: Path) -> None:
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    given = {"t": a.T, "r": a[::-1, :, ::2], "j": jnp.arange(3.0), "p": [1.5, 2.5]}
    write_torch_file(tmp_path / "a.pt", given)
    assert_same_bits(
        read_torch_file(tmp_path / "a.pt"), {k: np.array(v, order="C") for k, v in given.items()}
    )


def test_torch_reads_what_we_write(torch: Any, tmp_path: Path) -> None:
    write_torch_file(tmp_path / "a.pt", tensors())
    for how in ({"weights_only": True}, {"weights_only": False}, {"mmap": True}):
        loaded = torch.load(tmp_path / "a.pt", **how)
        assert_same_bits({k: from_torch(torch, v) for k, v in loaded.items()}, tensors())
        assert all(t.is_contiguous() and not t.requires_grad for t in loaded.values())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_we_read_what_torch_writes(torch: Any, tmp_path: Path) -> None:
    theirs = {name: to_torch(torch, array) for name, array in tensors().items()}
    torch.save(theirs, tmp_path / "a.pt")
    assert_same_bits(read_torch_file(tmp_path / "a.pt"), tensors())
    with open(tmp_path / "b.pt", "wb") as out:  # the folder is then called "archive"
        torch.save(theirs, out)
    assert_same_bits(read_torch_file(tmp_path / "b.pt"), tensors())
    torch.save(theirs, tmp_path / "c.pt", pickle_protocol=4)
    with pytest.raises(InputError, match="pickle protocol 4"):
        read_torch_file(tmp_path / "c.pt")


def test_a_modules_state_dict(torch: Any, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    read = read_torch_file(tmp_path / "a.pt")
    assert_same_bits(read, {k: v.numpy() for k, v in module.state_dict().items()})
    assert read["1.num_batches_tracked"].dtype == np.int64
    write_torch_file(tmp_path / "b.pt", read)
    other = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    assert (
        str(other.load_state_dict(torch.load(tmp_path / "b.pt")))
        == "<All keys matched successfully>"
    )
    assert all(
        torch.equal(*pair) for pair in zip(module.parameters(), other.parameters(), strict=True)
    )


def test_views_are_read_as_what_they_show(torch: Any, tmp_path: Path) -> None:
    a = torch.arange(24.0).reshape(4, 6)
    views = {"t": a.T, "row": a[1], "part": a[1:3, ::2], "wide": torch.ones(1).expand(2)}
    torch.save(views, tmp_path / "a.pt")
    read = read_torch_file(tmp_path / "a.pt")
    assert_same_bits(read, {k: v.contiguous().numpy() for k, v in views.items()})


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.sampled_from(DTYPES).flatmap(
            lambda d: npst.arrays(np.uint8, st.tuples(st.integers(0, 3), st.just(d.itemsize))).map(
                lambda raw: raw.view(d)
            )
        ),
        max_size=4,
    )
)
def test_any_dict_goes_there_and_back(tmp_path_factory: Any, given: dict[str, np.ndarray]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pt"
    write_torch_file(path, given)
    assert_same_bits(read_torch_file(path), given)


# --------------------------------------------------------------------------- what we do not write


def test_other_dtypes_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mask: no bool in a \.pt file, only .*bfloat16"):
        write_torch_file(tmp_path / "a.pt", {"mask": np.ones(2, bool)})
    assert os.listdir(tmp_path) == []
    huge = np.broadcast_to(np.float16(0), (2**20, 2**11))  # 2 bytes, but 4 GB to write
    with pytest.raises(ValueError, match="2,147,483,648 elements"):
        torch_reader._pickled({"huge": huge})


def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cannot write .*nowhere.*No such file"):
        write_torch_file(tmp_path / "nowhere" / "a.pt", {})
    write_torch_file(tmp_path / "a.pt", {})
    before = (tmp_path / "a.pt").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match="No space left"):
        write_torch_file(tmp_path / "a.pt", tensors())
    assert os.listdir(tmp_path) == ["a.pt"]
    assert (tmp_path / "a.pt").read_bytes() == before


# ------------------------------------------------------------------------------ what is refused


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


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    """Write a zip of these members in the folder "archive", 16 bytes of storage among them."""

    def write(members: Mapping[str, bytes] | bytes, compression: int = zipfile.ZIP_STORED) -> Path:
        if isinstance(members, bytes):
            members = {"archive/data.pkl": members, "archive/data/0": bytes(16)}
        with zipfile.ZipFile(tmp_path / "hostile.pt", "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return tmp_path / "hostile.pt"

    return write


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
        (pickled(storage()), "'w' is a _Storage"),
        (b"\x80\x02" + tensor() + b".", "ndarray in the place of a dict"),
        (b"\x80\x02" + tensor() + b"}b.", "ndarray in the place of a dict"),
        (pickled(tensor() + b")R"), "no tensor"),
        (pickled(b"(" + tensor() + b"tQ"), "storage that is not torch's"),
    ],
)
def test_damaged_pickles(zipped: Callable[..., Path], program: bytes, message: str) -> None:
    refused(zipped(program), message)


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


def test_a_pickle_too_long_for_a_state_dict(zipped: Callable[..., Path]) -> None:
    refused(zipped(b"\x80\x02" + b"}" * 2**22), "a pickle of 4,194,306 bytes")


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


def read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    read, message = {}, "one line"
    try:
        read = read_torch_file(path)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert sum(array.nbytes for array in read.values()) <= len(content)


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
