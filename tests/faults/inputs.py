"""The matrix of input files: each gives a result, or one line and exit code 2."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.faults.harness import WORDS, Lab

PLAIN = "\n".join(WORDS)


def contents() -> dict[str, bytes]:
    """Every file by what is odd about it."""
    # All that are letters or signs by themselves: no surrogates, nothing that ends a line.
    characters = "".join(chr(i) for i in range(0x3400, 0x1C2A0) if not 0xD800 <= i < 0xE000)
    few = {f"{n} words": "\n".join(WORDS[:n]).encode() for n in range(1, 13)}
    return few | {
        "empty": b"",
        "blank lines only": b"\n\n \n",
        "blank lines between": PLAIN.replace("\n", "\n\n").encode(),
        "CRLF": PLAIN.replace("\n", "\r\n").encode(),
        "CR": PLAIN.replace("\n", "\r").encode(),
        "BOM": b"\xef\xbb\xbf" + PLAIN.encode(),
        "NUL": PLAIN.encode() + b"\nab\0c",
        "not UTF-8": PLAIN.encode() + b"\njos\xe9",
        "UTF-16": PLAIN.encode("utf-16"),
        "a surrogate pair, encoded": PLAIN.encode() + b"\n\xed\xa0\xbd\xed\xb8\x80",
        "beyond the basic plane": PLAIN.replace("a", "😀").encode(),
        "right to left": PLAIN.replace("a", "א").encode(),
        "combining": PLAIN.replace("a", "a\u0301").encode(),
        "NFC": PLAIN.replace("a", "á").encode(),
        "form feed and U+2028": PLAIN.replace("k", "k\f\u2028").encode(),
        "the boundary inside": PLAIN.encode() + b"\na.b",
        "a line of a megabyte": PLAIN.encode() + b"\n" + b"ab" * 500_000,
        "100,000 characters": "\n".join(
            characters[i : i + 10] for i in range(0, len(characters), 10)
        ).encode(),
        "a thousand alphabets": "\n".join(chr(0x4E00 + i) + "ab" for i in range(1000)).encode(),
        "random bytes": os.urandom(10_000),
        "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    }


def run() -> dict[str, Any]:
    lab = Lab()
    paths = {}
    for i, (name, content) in enumerate(contents().items()):
        paths[name] = lab.folder / f"input-{i}"
        paths[name].write_bytes(content)
    paths |= odd_files(lab.folder)
    counts = {"files": 0, "trained": 0, "refused in one line": 0, "tracebacks": 0}
    for name, path in paths.items():
        out = lab.folder / "out"
        small = ["--type", "bengio", "--n-embd2", 8, "--max-steps", 1, "-b", 4]
        code, _, err = lab.run("train", "-i", path, "-o", out, *small, powerless=True)
        counts["files"] += 1
        counts["trained"] += code == 0
        one_line = code == 2 and err.count("\n") == 1 and not out.exists()
        counts["refused in one line"] += one_line
        if code and not one_line:
            counts["tracebacks"] += 1
            print(f"{name}: exit {code}, {err[-500:]}")
        shutil.rmtree(out, ignore_errors=True)
    counts["ten million lines, GB"], counts["ten million lines, seconds"] = ten_million(lab)
    shutil.rmtree(lab.folder)
    return counts


def odd_files(folder: Path) -> dict[str, Path]:
    """What is no plain file, or cannot be read."""
    loop, fifo = folder / "loop", folder / "fifo"
    loop.symlink_to(loop)
    os.mkfifo(fifo)
    paths = {"a folder": folder, "a loop of links": loop, "a FIFO": fifo, "a device": "/dev/zero"}
    paths |= {"missing": folder / "missing", "a name too long": folder / ("x" * 300)}
    secret = folder / "secret"
    secret.write_text(PLAIN, encoding="utf-8")
    secret.chmod(0)
    paths["no permission"] = secret
    return {name: Path(path) for name, path in paths.items()}


def ten_million(lab: Lab) -> tuple[float, int]:
    """Peak memory and time of training on ten million lines."""
    path = lab.folder / "large.txt"
    path.write_text((PLAIN + "\n") * (10_000_000 // len(WORDS)), encoding="utf-8")
    code = (
        "import resource, sys\n"
        "from jaxmore.cli import main\n"
        "main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)\n"
    )
    args = ["train", "-i", path, "-o", lab.folder / "out", "--type", "bengio", "--max-steps", "10"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env=lab.environment,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return round(float(done.stdout.splitlines()[-1]), 1), round(time.monotonic() - started)
