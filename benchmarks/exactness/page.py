"""docs/exactness.md: what was measured, in a summary, two tables and the causes."""

import math
from collections.abc import Sequence

from benchmarks.exactness.rules import TINY, Measured
from benchmarks.exactness.stepwise import Step
from benchmarks.machine import describe_machine

WAYS = ("by hand", "jax.grad", "torch")
GOAL = 1.1
"""Our RMS error over the better autodiff's: as accurate, up to the noise of the draws."""

HEAD = """\
# How exact every gradient is

In float32 every gradient of a rule is at least as exact as the better of JAX's and PyTorch's automatic gradients, within
10 %: over many random draws its error is at most 1.1 times theirs, and in some cases a thousandth of it. The 26 lines of the
notebooks' network follow torch's order of rounding, and their error is up to 1.5 times that of the better one
([line by line](#exercise-1-line-by-line)). Where the bits differ
from PyTorch's, the cause is another order of rounding, or another approximation of `exp` or a similar function.
[The causes](#the-causes) lists them.

The page compares three ways to compute a gradient in float32 from the same inputs: **by hand** (`op_fwd`, `op_bwd`),
**jax.grad** of the same `op` with JAX's own tanh, and **torch** (its autograd and its own kernels). The reference value is
`jax.vjp` in float64 on the same inputs. For tanh, sigmoid and gelu it comes from mpmath, since float64 loses digits in their
[tails](#digits-in-the-tails) as well. torch runs on one thread. On two threads its layer norm sums the rows in two halves: the error of dbias is then
10 % smaller than with one running sum, while on one thread it has our bits.

Written by `python -m benchmarks.exactness`, {seeds} draws of every family and {steps} of the network, on {machine}.
Other processors sum in another order, which changes the ratios by a few per cent, and the bits. Fewer draws are not enough. A
score near 1e3 is rounded by 3e-5, and one to four of the 4000 draws, in which two scores almost tie, cause half of attention's
error there. With 200 draws the ratios of dq, dk and dv were 1.73, 1.84 and 3.74, because torch, which sums q kᵀ in another
order, was luckier in one of them. In five runs of 4000 draws, fourteen of the fifteen ratios were 1.00 and one was 1.12.

## Summary

{summary}

The goal is a root-mean-square error of at most {goal} times that of the better autodiff. Where a cotangent misses it, the last
column names the cause, which is explained below.

The tests compare every element with PyTorch's in float64 by the condition scale of that element, not of its tensor: the rules
and cells of `tests/rules/test_ladder.py` are all within 7e-16 of it. In float32 and the 16-bit dtypes the rounding of the
forward's values reaches every cotangent of a cell or an attention, so there the tests take the largest scale of the tensor.

## Every rule, every family, every cotangent

- **equal**: the share of elements that have torch's bits. **ulp**: the largest distance between an element and torch's, in
  float32 numbers; it is large where the element is a difference that cancels.
- **worst**: the largest error of each of the three ways, divided by the largest element of the tensor. (Where the true value
  is 0 by identity, the error itself.) **ratio**: the RMS error by hand over that of the better autodiff. Below 1, the
  hand-derived gradient is more exact.

<details markdown="1"><summary>The table of every cotangent</summary>

| rule | arguments | cotangent | elements | equal | ulp | worst by hand | jax.grad | torch | ratio | cause |
|---|---|---|---|---|---|---|---|---|---|---|
"""

STEPS = """
</details>

## Exercise 1, line by line

The notebooks' network line by line, at their size (32 examples, 64 hidden units). **Bits** is the test of the lecture's `cmp`:
each line of `jaxmore.ninja.stepwise.backward` receives torch's intermediates and torch's retained gradients of the lines after
it, and must return torch's bits in every draw, both compiled as a whole (jit) and operation by operation (eager).
**jit: {jitted} of 26. eager: {eager} of 26.** The errors are end to end, from our own forward pass.

<details markdown="1"><summary>The table of every line</summary>

| cotangent | elements | jit | eager | ulp | worst by hand | jax.grad | torch | ratio | cause |
|---|---|---|---|---|---|---|---|---|---|
"""

CAUSES = {
    "exp": """The error of XLA's float32 `exp` is at most 0.93 units in the last place (0.32 on average), torch's 0.54 (0.29; a
correctly rounded function has 0.288). `exp` is part of sigmoid, softmax, cross-entropy and attention. In the network it
affects the probabilities, hence every cotangent before them.""",
    "sums": """The order of summation. XLA sums a long axis with one running sum, torch with sixteen or four partial sums in
vectors as wide as the processor's. Neither order is the right one: over a few terms, either may be better by some per cent.
The network's sums over the batch use torch's order (`_sum_rows`), which is also more exact. Sums along a row (`logit_maxes`,
whose cotangent is zero by identity, so that all its bits are rounding) depend on the width of the processor's vectors, and no
fixed order gives torch's bits everywhere. This answers torch's issue 121133: the formula is right, and equal formulas can
differ in bits.""",
    "fma": """Fused multiply-add. torch's backward of tanh computes 1 − h² in one instruction with one rounding, and so does XLA in
a compiled function; eager JAX rounds h² first. Conversely, XLA fuses products into sums where torch rounds twice. In the
network, `_rounded` keeps them apart; its errors are then as large as torch's, not smaller.""",
    "pow": """`(bnvar + eps) ** -1.5`: the two libraries approximate a power differently. XLA's result is almost always correctly
rounded (0.501 units), torch's may be the adjacent number.""",
    "tanh": """The error of XLA's float32 tanh is at most 4.9 units in the last place, torch's 0.5. Where 1 − y² is small, it
has lost digits before ([3.5 near x = 5, all near 9](#digits-in-the-tails)). Our tanh (`jaxmore/rules/_activations.py`) has at most 1.3 units and makes a step of the notebooks' network
2 to 3 % slower. An exponential with all digits would lower its error from 1.06 of torch's to 1.05, for 5 % of a step; saving
1 − |y| as well would remove the error in the tails, for 15 %.""",
    "forms": """The same factors in another order, for instance a product before a sum instead of after it. Neither form is better.""",
    "eager": """Eager JAX materialises the transpose of h before the product, and a product of another memory layout sums in
another order. Compiled, the order is torch's.""",
}  # fmt: skip

OF_RULES = {
    "batch_norm": {"": "sums"},
    "gru_cell": {"": "tanh"},
    "layer_norm": {"": "sums"},
    "lstm_cell": {"": "tanh"},
    "rnn_cell": {"": "tanh"},
    "sigmoid": {"": "exp"},
    "tanh": {"": "tanh"},
    "softmax_cross_entropy": {"": "exp"},
    "linear": {"": "sums"},
    "embedding": {"": "sums"},
}
OF_STEPS = {"logit_maxes": "sums", "bnvar": "pow", "hpreact": "fma", "W2": "eager"}


def write(rows: Sequence[Measured], steps: Sequence[Step], seeds: int) -> str:
    """The page."""
    measured = describe_machine()
    machine = f"{measured['cpu']}, jax {measured['versions']['jax']}, torch " + str(
        measured["versions"]["torch"]
    )
    head = HEAD.format(
        seeds=seeds, steps=steps[0].seeds, machine=machine, goal=GOAL, summary=summary(rows, steps)
    )
    jitted, eager = (sum(getattr(s, how) == 1 for s in steps) for how in ("jitted", "eager"))
    table = STEPS.format(jitted=jitted, eager=eager)
    causes = "\n".join(f"- **{name}.** {text}" for name, text in CAUSES.items())
    return (
        head
        + "\n".join(map(rule_line, rows))
        + "\n"
        + table
        + "\n".join(map(step_line, steps))
        + f"\n\n</details>\n\n## The causes\n\n{causes}\n{EDGES}"
    )


def summary(rows: Sequence[Measured], steps: Sequence[Step]) -> str:
    """The counts that the page opens with."""
    ratios = [row.ratio for row in rows]
    better = sum(row.ratio < 1 / GOAL for row in rows)
    far = sum(row.rms["torch"] > 10 * row.rms["by hand"] for row in rows)
    return "\n".join(
        [
            f"- {len(rows)} cotangents of {len({row.rule for row in rows})} rules on their families: "
            f"{sum(ratio <= GOAL for ratio in ratios)} within {GOAL} of the better autodiff, "
            f"{better} of them better than both by as much; the median is "
            f"{sorted(ratios)[len(ratios) // 2]:.2f}.",
            f"- {sum(row.equal == 1 for row in rows)} have torch's bits in every draw. In {far} torch's "
            "error is more than ten times ours.",
            f"- Exercise 1: {sum(s.jitted == 1 for s in steps)} of {len(steps)} cotangents have torch's "
            "bits, line by line.",
        ]
    )


def rule_line(row: Measured) -> str:
    """One row of the first table."""
    options = ", ".join(f"{k}={v}" for k, v in row.family.options.items())
    arguments = f"`{row.family.arguments}`" + (f" {options}" if options else "")
    causes = OF_RULES.get(row.rule, {})
    cause = causes.get(f"d{row.argument}") or causes.get("") or "forms"
    cells = [
        row.rule,
        arguments,
        f"d{row.argument}",
        str(row.size),
        "all" if row.equal == 1 else f"{row.equal:.0%}",
        str(row.ulp) if row.ulp < 1e4 else f"{row.ulp:.0e}",
        *_errors(row.worst),
        _ratio(row.ratio),
        cause if row.ratio > GOAL else "",
    ]
    return f"| {' | '.join(cells)} |"


def step_line(step: Step) -> str:
    """One row of the second table."""
    cause = OF_STEPS.get(step.name, "exp" if step.ratio > GOAL else "")
    cells = [
        step.name,
        str(step.size),
        *("all" if share == 1 else f"{share:.0%} of draws" for share in (step.jitted, step.eager)),
        str(step.ulp) if step.ulp < 1e4 else f"{step.ulp:.0e}",
        *_errors(step.worst),
        _ratio(step.ratio),
        cause,
    ]
    return f"| {' | '.join(cells)} |"


def _errors(worst: dict[str, float]) -> list[str]:
    return [f"{worst[way]:.1e}" if worst[way] > TINY**2 else "0" for way in WAYS]


def _ratio(ratio: float) -> str:
    return "∞" if math.isinf(ratio) else f"{ratio:.2f}"


EDGES = """
## At the edges

- **Ties for a maximum.** The slope of relu at 0 is 0, as in torch (`jnp.maximum` has ½). For `logit_maxes`, the first of the
  largest elements receives the whole cotangent, as in `torch.max(dim)` (`jnp.max` splits it); the sum is zero by identity in
  any case. Softmax, cross-entropy and attention subtract a maximum that has no cotangent, so a tie changes nothing.
- **Tails.** [The digits there](#digits-in-the-tails) are certified. The gradient of tanh is exactly 0 where y rounds to ±1
  (|x| > 9 in float32), as in torch and JAX. The gradient of sigmoid above 17 is 0 in float32, since 1 − y is.
- **n = 1.** batch_norm and the network reject a batch of one row, which has no unbiased variance. The gradient of a softmax
  over one score, of a layer_norm over one feature and of the first place of attention is 0.
- **All targets ignored.** The loss and every gradient are 0, where torch has NaN.
- **Exact zeros.** The gradient of a row of a table that no id selects, of a key that no query sees, and of a position in the
  future is exactly 0, not merely small.

## Digits in the tails

How many digits of dx are right far from zero, of the worst element and of the median (float32 has 7.2, float64 16.0): seven
elements each, counted by ball arithmetic ([certified digits](proof.md#digits-that-are-right)) with
`jaxmore check --digits jaxmore.rules:RULE --args ARGS`, for gelu with `--option approximate=False` (erf) or `True` (tanh).

| rule | ARGS | float32 | float64 | loses most |
|---|---|---|---|---|
| tanh | `f[7]*0.5+5` | 2.9, 3.6 | 11.6, 11.7 | 1 − y², 3.5 digits |
| tanh | `f[7]*0.5+9` | 0.0, 0.0 | 7.9, 8.3 | 1 − y², 7.0 digits |
| tanh | `f[7]*0.5+20` | 0.0, 0.0 | 0.0, 0.0 | 1 − y², all digits |
| sigmoid | `f[7]*0.5+10` | 2.7, 3.0 | 11.2, 11.6 | 1 − y, 4.2 digits |
| sigmoid | `f[7]*0.5+17` | 0.0, 0.0 | 8.4, 8.7 | 1 − y, 7.2 digits |
| sigmoid | `f[7]*0.5+30` | 0.0, 0.0 | 2.7, 3.3 | 1 − y, 12.9 digits in float64 |
| sigmoid | `f[7]*0.5-30` | 7.2, 7.2 | 15.8, 16.0 | |
| gelu, erf | `f[7]*0.5-6` | 6.2, 6.9 | 15.8, 16.0 | `erfc`, 1.0 and 1.5 digits |
| gelu, erf | `f[7]*0.5-12` | 5.4, 5.6 | 15.5, 15.7 | `erfc`, 1.7 and 2.2 digits |
| gelu, tanh | `f[7]*0.5-6` | 5.8, 6.0 | 14.6, 14.9 | exp, 1.2 and 0.8 digits |
| gelu, tanh | `f[7]*0.5-12` | too small | 13.6, 14.1 | σ, 1.4 digits in float64 |

So tanh and sigmoid, which keep y alone, lose the digits of 1 − y² and 1 − y, in float64 as well: there the reference of this page
must be mpmath. gelu, whose gates are `erfc` and σ, keeps all but three digits.
"""
