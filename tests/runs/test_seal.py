"""The seal of a folder: whole, or named as damaged."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jaxmore.runs.checkpoints import MANIFEST, damage, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"first")
    (folder / "inner" / "b").write_bytes(bytes(range(256)))
    seal(folder)
    return folder


def test_a_sealed_folder_is_whole_and_sha256sum_agrees(folder: Path) -> None:
    assert damage(folder) is None
    assert hashlib.sha256(b"first").hexdigest() in (folder / MANIFEST).read_text(encoding="utf-8")
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", MANIFEST], cwd=folder, check=True)


@pytest.mark.parametrize(
    "name", ["a", *(pytest.param(n, marks=pytest.mark.slow) for n in ("inner/b", MANIFEST))]
)
def test_every_bit_and_every_length_counts(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    for i in range(len(content)):
        path.write_bytes(content[:i])
        assert damage(folder), f"cut at {i}"
        for bit in range(8):
            path.write_bytes(content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :])
            assert damage(folder), f"bit {bit} of byte {i}"
    path.write_bytes(content)
    assert damage(folder) is None


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda f: (f / "a").unlink(), "'a'"),
        (lambda f: (f / "a").write_bytes(b""), "'a'"),
        (lambda f: (f / "a").rename(f / "c"), "'a'"),
        (lambda f: (f / "c").write_bytes(b"more"), "'c'"),
        (lambda f: (f / MANIFEST).unlink(), "No such file"),
        (lambda f: shutil.rmtree(f / "inner"), "inner/b"),
        (lambda f: shutil.copy(f / "a", f / "inner" / "b"), "inner/b"),
        (lambda f: ((f / "a").unlink(), (f / "a").symlink_to("inner/b")), "neither"),
        (lambda f: ((f / "a").unlink(), os.mkfifo(f / "a")), "neither"),
        (lambda f: (f / "inner" / "up").symlink_to(f), "neither"),
        (shutil.rmtree, "No such file"),
    ],
)
def test_damage_is_named(folder: Path, harm, named: str) -> None:
    harm(folder)
    wrong = damage(folder)
    assert wrong is not None
    assert named in wrong
    assert "\n" not in wrong


def test_no_name_in_a_manifest_is_followed(folder: Path) -> None:
    with open(folder / MANIFEST, "a", encoding="utf-8") as manifest:
        manifest.write(f"{hashlib.sha256(b'x').hexdigest()}  ../../../../etc/passwd\n")
    assert damage(folder) == "'../../../../etc/passwd' is not as it was sealed"
