"""Run programs in the page's interpreter under Node, and hand their outputs back."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "jaxmore/explore/page"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="the page's modules run under node, not found")

RUN = """
import { Machine } from "PAGE/interpreter.js";
import { readFileSync } from "node:fs";
const plain = (x) => (Number.isFinite(x) ? x : String(x));
const jobs = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(jobs.map(({ program, inputs }) =>
  new Machine(program).run(inputs.map((x) => x.map(Number))).map(({ data }) => Array.from(data, plain)))));
"""


def plain(array: Any) -> list[Any]:
    flat = np.asarray(array).ravel().tolist()
    return [x if np.isfinite(x) else str(x).replace("inf", "Infinity") for x in flat]


def evaluate(script: str, data: Any = None) -> Any:
    """What a module prints as JSON; PAGE in it is the folder of the page."""
    assert NODE
    run = subprocess.run(
        [NODE, "--input-type=module", "-e", script.replace("PAGE", PAGE.as_uri())],
        input=json.dumps(data), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def run(jobs: list[tuple[Any, list[Any]]]) -> list[list[np.ndarray]]:
    """The outputs of each program with its inputs, in their shapes."""
    data = [
        {"program": program._asdict(), "inputs": [plain(x) for x in inputs]}
        for program, inputs in jobs
    ]
    return [
        [
            np.array([float(x) for x in flat]).reshape(program.shapes[i])
            for flat, i in zip(outputs, program.outputs, strict=True)
        ]
        for (program, _), outputs in zip(jobs, evaluate(RUN, data), strict=True)
    ]
