"""Fixtures of the tests of .pt files."""

import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Searched for doctests like every module, and it needs torch.
collect_ignore = [] if find_spec("torch") else ["makemore.py"]


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch; skips the tests that ask for it where it is not installed."""
    return pytest.importorskip("torch")


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
