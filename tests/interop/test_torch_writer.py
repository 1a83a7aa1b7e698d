"""torch reads what we write, and what is read again is the same bit for bit."""

import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmore.errors import InputError
from jaxmore.interop import read_torch_file, torch_writer, write_torch_file
from tests.interop.pt_files import DTYPES, assert_same_bits, tensors


def to_torch(torch: Any, array: np.ndarray) -> Any:
    if array.dtype == DTYPES[3]:
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


def from_torch(torch: Any, tensor: Any) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(DTYPES[3])
    return tensor.numpy()


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


def test_other_dtypes_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mask: no bool in a \.pt file, only .*bfloat16"):
        write_torch_file(tmp_path / "a.pt", {"mask": np.ones(2, bool)})
    assert os.listdir(tmp_path) == []
    huge = np.broadcast_to(np.float16(0), (2**20, 2**11))  # 2 bytes, but 4 GB to write
    with pytest.raises(ValueError, match="2,147,483,648 elements"):
        torch_writer._pickle_tensors({"huge": huge})


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
