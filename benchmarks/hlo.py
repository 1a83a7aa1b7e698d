"""What a compiled program does in a step: its FLOPs, its bytes and its collectives.

XLA's own ``cost_analysis`` counts the body of a loop once, and no collective.
"""

import math
import re
from collections import Counter
from typing import NamedTuple, cast

_COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# These hand on what is there, or are counted by what they call.
_FREE = (
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "opt-barrier", "after-all", "partition-id", "replica-id", "iota", "domain",
)  # fmt: skip
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8}
_LINE = re.compile(r"\s+(?:ROOT )?%([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)")
_SLICES = ("dynamic-slice", "gather", "slice")


class Instruction(NamedTuple):
    """A line of a program: its name, the type of its result, and the rest of the line."""

    name: str
    type: str
    op: str
    rest: str

    @property
    def operands(self) -> list[str]:
        return re.findall(r"%([\w.-]+)", self.rest.partition(")")[0])

    @property
    def size(self) -> int:
        """The bytes of the result."""
        return sum(
            _BYTES.get(dtype, 4) * math.prod(map(int, filter(None, axes.split(","))))
            for dtype, axes in re.findall(r"(\w+)\[([\d,]*)\]", self.type)
        )

    def called(self, *names: str) -> list[str]:
        return [f for name in names for f in re.findall(rf"\b{name}=%([\w.-]+)", self.rest)]


class Collective(NamedTuple):
    """A kind of collective, and how many devices take part."""

    kind: str
    group: int


class Account(NamedTuple):
    """What one device does in a step."""

    flops: int
    """Of the matrix products; a multiply-add counts as two."""
    bytes: int
    """Of the operands and results of all fused operations."""
    counts: Counter[Collective]
    """How many collectives of each kind."""
    sizes: Counter[Collective]
    """Their bytes: of the whole array, the one that is gathered or before it is scattered."""


def account(program: str, n_steps: int, rounds: int = 1) -> Account:
    """Account for one step of a compiled chunk.

    Args:
        program: the text of a compiled ``scan_steps``, as ``Compiled.as_text`` gives it.
        n_steps: S. The step is the body of the outermost loop with S rounds.
        rounds: those of a loop whose number XLA does not know: the parts of a fixed tree.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, inside = "", cast(list[Instruction], [])
    for line in program.splitlines():
        if head := re.match(r"(ENTRY )?%([\w.-]+) \(.*\{$", line):
            inside = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif found := _LINE.match(line):
            inside.append(Instruction(*found.groups()))
    by_name = {i.name: i for its in computations.values() for i in its}
    flops = size = 0
    counts, sizes = Counter[Collective](), Counter[Collective]()

    def walk(computation: str, times: int) -> None:
        nonlocal flops, size
        for i in computations[computation]:
            if i.op == "while":
                walk(i.called("body")[0], times * (_trips(i) or rounds))
            elif i.op in ("call", "conditional"):
                for name in i.called("to_apply", "true_computation", "false_computation"):
                    walk(name, times)
            elif i.op not in _FREE:
                size += times * _moved(i)
            if i.op in _COLLECTIVES:
                collective = Collective(i.op, _group(i.rest))
                whole = sum(by_name[name].size for name in i.operands)
                counts[collective] += times
                sizes[collective] += times * (whole if i.op == "reduce-scatter" else i.size)
            for dot in (i, *(d for f in i.called("calls") for d in computations[f])):
                flops += times * _product(dot) if dot.op == "dot" else 0

    def _product(dot: Instruction) -> int:
        left = by_name[dot.operands[0]].type
        axes = [*map(int, left[left.index("[") + 1 : left.index("]")].split(","))]
        contracted = re.findall(r"lhs_contracting_dims=\{([\d,]*)\}", dot.rest)[0].split(",")
        terms = math.prod(axes[int(axis)] for axis in filter(None, contracted))
        return 2 * terms * (dot.size // _BYTES.get(dot.type[: dot.type.index("[")], 4))

    def _moved(i: Instruction) -> int:
        """The bytes that an operation reads and writes; of what it slices, the slice alone."""
        operands = [by_name[name] for name in i.operands]
        if i.op in _SLICES:
            return 2 * i.size
        if i.op == "dynamic-update-slice":
            return 2 * operands[1].size
        if i.op != "fusion":
            return i.size + sum(a.size for a in operands)
        body = computations[i.called("calls")[0]]
        params = {b.name: int(b.rest.partition(")")[0]) for b in body if b.op == "parameter"}
        read = 0
        for name, at in params.items():
            uses = [b for b in body if name in b.operands]
            if uses and all(b.op in _SLICES and b.operands[0] == name for b in uses):
                read += sum(b.size for b in uses)
            elif not all(b.op == "dynamic-update-slice" and b.operands[0] == name for b in uses):
                read += operands[at].size
        updates = [b for b in body if b.op == "dynamic-update-slice"]
        written = sum(by_name[b.operands[1]].size for b in updates)
        return read + (written if updates and updates[-1] is body[-1] else i.size)

    queue = [entry]
    while queue:
        for i in computations[queue.pop(0)]:
            if i.op == "while" and _trips(i) == n_steps:
                walk(i.called("body")[0], 1)
                return Account(flops, size, counts, sizes)
            queue += i.called("to_apply") if i.op == "call" else i.called("body")
    raise ValueError(f"no loop of {n_steps} rounds")


def _trips(loop: Instruction) -> int | None:
    found = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest)
    return int(found[1]) if found else None


def _group(rest: str) -> int:
    """The size of a group.

    It is written as ``[groups,size]<=...``, as ``{{0,1},{2,3}}``, or from jax 0.12 on as
    ``mesh['data'=2,'model'=4] {'data'}``.
    """
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", rest):
        sizes = dict(axis.split("=") for axis in found[1].split(","))
        return math.prod(int(sizes[axis]) for axis in found[2].split(","))
    first = re.search(r"replica_groups=\{\{([\d,]*)\}", rest)
    return len(first[1].split(",")) if first else 1
