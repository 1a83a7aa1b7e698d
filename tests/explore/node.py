"""Runs the page's modules under Node: programs in, arrays out."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxmore import explore

PAGE = Path(explore.__file__).parent / "page"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")

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
        ["node", "--input-type=module", "-e", code],
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
