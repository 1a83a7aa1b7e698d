"""The seven checks of a rule, in the order in which a later one relies on an earlier one."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.drop_in import custom_vjp
from jaxmore.testing import oracles
from jaxmore.testing.condition import condition_scales
from jaxmore.testing.diagnosis import Evidence, where
from jaxmore.testing.differences import central_differences, complex_step
from jaxmore.testing.judgement import (
    AUTODIFF,
    DIFFERENCES,
    Slopes,
    bracketed,
    casts_in,
    judge,
    share,
    worst,
)
from jaxmore.testing.leaves import Leaves, OnFloats, StructureError, is_float
from jaxmore.testing.report import Problem, Report, Row

SECOND_ORDER = 1e-9
"""The tolerance for grad of grad in float64, in units of the largest of all."""
MODES = 64
"""How far eager, jit, vmap, scan and checkpoint may differ, in ulps of the condition scale."""
NARROW = 16
"""The tolerance in a dtype's eps, where rounding is all that may differ."""
DTYPES = ("float32", "bfloat16", "float16")


class Rule(NamedTuple):
    """A rule with its options bound."""

    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]
    plain: Callable[..., Any]
    bitwise: bool = True
    """Whether ``fwd`` has to give the bits of ``plain``; else equal but for rounding."""


class _Stop(Exception):
    """A check failed, and those after it would only repeat it in other words."""


class Examination:
    """One run of all checks; writes what it finds into the report."""

    def __init__(
        self, rule: Rule, leaves: Leaves, report: Report, random: np.random.Generator
    ) -> None:
        if not leaves.floats:
            raise ValueError(f"{report.name}: no argument is a float array: there is no gradient")
        self._rule, self._leaves, self._report, self._random = rule, leaves, report, random
        self._plain, self._rule_fwd = map(leaves.on_floats, (rule.plain, rule.fwd))
        self._fwd = jax.jit(lambda *floats: (self._plain(*floats), *self._rule_fwd(*floats)))
        self._bwd = jax.jit(self._counted_bwd)
        self._traces = 0

    def run(self, dtypes: Sequence[str], modes: bool) -> None:
        """All checks, up to the first that fails."""
        try:
            self._structure()
            self._values()
            self._linearity()
            if modes:
                self._modes()
            for dtype in dtypes:
                self._narrow(dtype)
            self._residuals()
        except _Stop:
            pass

    # The checks ----------------------------------------------------------------------------------

    def _structure(self) -> None:
        """The rule runs, eagerly and under jit, and returns what the contract wants."""
        floats, name = self._leaves.floats, self._report.name
        self._y, residuals = self._rule_fwd(*floats)
        ys = jax.tree.leaves(self._y)
        if not all(is_float(jnp.asarray(y)) for y in ys):
            raise ValueError(f"{name}: the forward returns something that is no float array")
        if not all(np.isfinite(y).all() for y in ys):
            raise ValueError(f"{name}: the forward is not finite on these arguments")
        for leaf in jax.tree.leaves(residuals):
            if not isinstance(leaf, jax.Array | np.ndarray):
                text = (
                    f"the residuals hold {leaf!r}, a {type(leaf).__name__}: only arrays survive jit"
                )
                self._fail("residuals", text + " (make it an option, or read it off a shape)")
        self._dys = [self._draw(), self._draw()]
        self._eager = self._attempt("structure", "eagerly", self._pull_back, floats, self._dys[0])
        plain, y, self._jit_residuals = self._fwd(*floats)
        self._primal(plain, y)
        self._first = self._attempt("modes", "under jit", self._jitted, self._dys[0])
        self._second = self._jitted(self._dys[1])

    def _primal(self, plain: Any, y: Any) -> None:
        """fwd's output is the plain forward's; both come from one executable."""
        right, ours = jax.tree.leaves(plain), jax.tree.leaves(y)
        if _kinds(ours) != _kinds(right):
            self._fail("primal", f"fwd returns {_kinds(ours)}, the plain forward {_kinds(right)}")
        for y, a, b in zip(ours, _all_numpy(ours), _all_numpy(right), strict=True):
            allowed = 0 if self._rule.bitwise else NARROW * float(jnp.finfo(y.dtype).eps)
            off = np.abs(a - b)
            wrong = ~(off <= allowed * np.abs(b).max(initial=0))
            if wrong.any():
                i = worst(off)
                text = (
                    f"fwd's output is not the plain forward's: {where(wrong)}; worst at "
                    f"y{bracketed(i)}: {a[i]:.17g} in place of {b[i]:.17g}"
                )
                self._fail("primal", text)

    def _values(self) -> None:
        """Every cotangent is autodiff's and that of the differences."""
        floats, names = self._leaves.floats, self._leaves.float_names
        oracle, self._scales = self._truth(floats, self._dys[0])
        _, self._scales_of_second = self._truth(floats, self._dys[1])
        ours = _all_numpy(self._first)
        self._wobbles = self._sensitivity()
        slopes = self._slopes()
        arrays = zip(self._leaves.names, self._leaves.arrays, strict=True)
        inputs = {name: _numpy(a) for name, a in arrays if a is not None and _is_plain(a)}
        casts = partial(casts_in, self._pull_back, floats, self._dys[0])
        ys, dys = (_all_numpy(jax.tree.leaves(tree)) for tree in (self._y, self._dys[0]))
        for i, name in enumerate(names):
            others = {n: o for n, o in zip(names, oracle, strict=True) if n != name}
            scale = self._scales[i]
            evidence = Evidence(name, ours[i], oracle[i], scale, inputs, dys, ys, others)
            judgement = judge(evidence, slopes[i], self._wobbles[i], casts)
            if judgement.note:
                self._report.notes.append(judgement.note)
            if judgement.problem:
                self._report.problems.append(judgement.problem)
            errors = judgement.autodiff, judgement.differences
            self._report.rows.append(Row(name, ours[i].shape, *errors))
        disagreement = self._disagreement("eager", self._eager, self._first)
        # If the compiled rule is not the one that was written, no oracle can judge it. (Unless it
        # computes in a narrower dtype: that alone makes them differ.)
        if disagreement and not casts():
            self._report.problems[:] = disagreement
        self._stop_if_wrong()

    def _linearity(self) -> None:
        """Bwd is linear in dy; zero gives zeros, four times dy four times the bits."""
        a, b = 0.75, -1.25
        combine = jax.tree.map(lambda d1, d2: a * d1 + b * d2, *self._dys)
        combined = _all_numpy(self._jitted(combine))
        of_zero = _all_numpy(self._jitted(jax.tree.map(jnp.zeros_like, self._dys[0])))
        of_four = _all_numpy(self._jitted(jax.tree.map(lambda d: 4 * d, self._dys[0])))
        first, second = _all_numpy(self._first), _all_numpy(self._second)
        for i, name in enumerate(self._leaves.float_names):
            off = np.abs(combined[i] - (a * first[i] + b * second[i]))
            wrong = ~(off <= AUTODIFF * 2 * (self._scales[i] + self._scales_of_second[i]))
            if wrong.any():
                text = "bwd is not linear: bwd(a dy₁ + b dy₂) is not a bwd(dy₁) + b bwd(dy₂)"
                self._add("linearity", f"{name}: {text}, {where(wrong)}", name)
            elif of_zero[i].any():  # NaN is true
                worst_value = of_zero[i][worst(np.abs(of_zero[i]))]
                self._add("linearity", f"{name}: a dy of zero gives {worst_value}, not 0", name)
            elif ((of_four[i] != 4 * first[i]) & (np.abs(first[i]) > 1e-280)).any():
                self._add("linearity", f"{name}: 4 dy does not give 4 times the bits", name)
        self._stop_if_wrong()

    def _modes(self) -> None:
        """Every way of running the rule gives the same, and it can be differentiated again."""
        floats, (dy, dy2) = self._leaves.floats, self._dys
        again = self._jitted(dy)
        if any(a.tobytes() != b.tobytes() for a, b in zip(again, self._first, strict=True)):
            self._fail("modes", "the same executable gives other bits on the second run")
        if self._traces != 1:
            self._fail("modes", f"bwd was traced {self._traces} times for one shape")
        drop_in = self._leaves.on_floats(
            custom_vjp(self._rule.plain, self._rule.fwd, self._rule.bwd)
        )
        dys = jax.tree.map(lambda *d: jnp.stack(d), dy, dy2)
        twice = tuple(jnp.stack([x, x]) for x in floats)
        both = list(zip(self._first, self._second, strict=True))
        modes: dict[str, Callable[[], Any]] = {
            "vmap": lambda: jax.vmap(partial(oracles.cotangents, drop_in))(twice, dys),
            "lax.scan": lambda: oracles.through_scan(drop_in, floats, dys),
            "checkpoint": lambda: oracles.through_checkpoint(drop_in, floats, dy),
        }
        expected = {
            "vmap": [jnp.stack(pair) for pair in both],
            "lax.scan": [a + b for a, b in both],
            "checkpoint": self._first,
        }
        for mode, run in modes.items():
            got = self._attempt("modes", f"under {mode}", jax.jit(run))
            self._report.problems += self._disagreement(mode, got, expected[mode])
        self._stop_if_wrong()
        self._grad_of_grad(drop_in)

    def _disagreement(self, mode: str, got: Sequence[Any], jitted: Sequence[Any]) -> list[Problem]:
        problems: list[Problem] = []
        for i, name in enumerate(self._leaves.float_names):
            if got[i].shape != jitted[i].shape:
                continue  # the comparison with the oracles tells
            scale = self._scales[i] + self._scales_of_second[i]
            unit = np.finfo("float64").eps * scale + self._wobbles[i]
            ulps = share(_numpy(got[i]) - _numpy(jitted[i]), unit)
            self._report.agreement = max(self._report.agreement or 0.0, ulps)
            if not ulps <= MODES:
                text = f"{name}: {mode} and jit differ by {ulps:.3g} ulp"
                problems.append(Problem("modes", text, name))
        return problems

    def _grad_of_grad(self, drop_in: Callable[..., Any]) -> None:
        floats, dy = self._leaves.floats, self._dys[0]
        directions = tuple(jnp.asarray(self._random.normal(size=x.shape)) for x in floats)
        second_order = _jit(oracles.second_order)
        expected = _all_numpy(second_order(self._plain, floats, dy, directions))
        got = self._attempt(
            "modes", "grad of grad", lambda: second_order(drop_in, floats, dy, directions)
        )
        scale = max([*(np.abs(x).max(initial=0) for x in expected), *self._scales])
        for name, a, b in zip(self._leaves.float_names, _all_numpy(got), expected, strict=True):
            error = share(a - b, scale)
            self._report.grad_of_grad = max(self._report.grad_of_grad or 0.0, error)
            if not error <= SECOND_ORDER:
                self._add("modes", f"{name}: grad of grad is off by {error:.1e}", name)
        self._stop_if_wrong()

    def _narrow(self, dtype: str) -> None:
        """In a narrower dtype the cotangents keep it, and are about as good as it allows."""
        narrow = tuple(x.astype(dtype) for x in self._leaves.floats)
        shapes = jax.eval_shape(self._plain, *narrow)
        # Of one sign: in a sum of many such terms a narrow accumulator loses the most.
        dy = jax.tree.map(lambda d, y: jnp.abs(d).astype(y.dtype), self._dys[0], shapes)

        @jax.jit
        def everything(narrow: Any, dy: Any) -> tuple[Any, ...]:
            ours = self._pull_back(narrow, dy)
            return (
                self._plain(*narrow),
                self._rule_fwd(*narrow)[0],
                ours,
                oracles.cotangents(self._plain, narrow, dy),
            )

        plain, y, ours, autodiffs = self._attempt("dtypes", f"in {dtype}", everything, narrow, dy)
        if not all(np.isfinite(_numpy(leaf)).all() for leaf in [*narrow, *jax.tree.leaves(plain)]):
            self._report.notes.append(f"{dtype}: the forward overflows; not checked")
            return
        self._primal(plain, y)
        ours, autodiffs = _all_numpy(ours), _all_numpy(autodiffs)
        truth, scales = self._truth(
            tuple(x.astype("float64") for x in narrow),
            jax.tree.map(lambda d: d.astype("float64"), dy),
        )
        info = jnp.finfo(dtype)
        for i, name in enumerate(self._leaves.float_names):
            if np.abs(truth[i]).max(initial=0) > float(info.max):
                self._report.notes.append(f"{dtype}: the cotangent of {name} overflows")
                continue
            mine, theirs = (
                # What is off by less than the smallest number of this dtype is not off.
                share(np.maximum(np.abs(d - truth[i]) - float(info.smallest_subnormal), 0),
                       float(info.eps) * scales[i])
                for d in (ours[i], autodiffs[i])
            )  # fmt: skip
            self._report.rows[i].narrow[dtype] = mine
            if not mine <= max(NARROW, 4 * theirs):
                text = (
                    f"{name}: in {dtype} it is off by {mine:.0f} eps of its condition scale "
                    f"(autodiff by {theirs:.0f}); are sums taken in float32?"
                )
                self._add("dtypes", text, name)
        self._stop_if_wrong()

    def _residuals(self) -> None:
        """What the rule keeps, and what autodiff would, in float32."""
        floats = tuple(x.astype("float32") for x in self._leaves.floats)
        self._report.residual_bytes = oracles.count_bytes(lambda *f: self._rule_fwd(*f)[1], floats)
        self._report.autodiff_bytes = oracles.kept_bytes(self._plain, floats)

    # What they use -------------------------------------------------------------------------------

    def _counted_bwd(self, residuals: Any, dy: Any) -> Any:
        self._traces += 1
        return self._rule.bwd(residuals, dy)

    def _truth(self, floats: Sequence[Any], dy: Any) -> tuple[list[np.ndarray], list[float]]:
        """Autodiff's cotangents, and the condition scale of each: one number for a tensor."""
        oracle, scales = map(_all_numpy, _autodiff(self._plain, floats, dy))
        sizes = [
            float(max(s.max(initial=0), np.abs(o).max(initial=0)))
            for s, o in zip(scales, oracle, strict=True)
        ]
        return oracle, sizes

    def _sensitivity(self) -> list[float]:
        """How much each cotangent changes when the inputs change in their last bit.

        No executable can be expected to agree with another to less than that.
        """
        wobbles = [0.0] * len(self._first)
        for _ in range(3):
            eps = np.finfo("float64").eps
            near = [
                x * (1 + eps * self._random.choice([-1, 1], x.shape)) for x in self._leaves.floats
            ]
            residuals = self._fwd(*map(jnp.asarray, near))[2]
            moved = self._leaves.cotangents(self._bwd(residuals, self._dys[0]), near)
            for i, (a, b) in enumerate(zip(moved, self._first, strict=True)):
                wobbles[i] = max(wobbles[i], float(np.abs(a - b).max(initial=0)))
        return wobbles

    def _slopes(self) -> list[Slopes]:
        """The differences; where they lose digits, the complex step if it agrees with them."""
        dy, floats = self._dys[0], self._leaves.floats
        slopes = [
            Slopes(*s) for s in zip(*central_differences(self._plain, floats, dy), strict=True)
        ]
        margins = [DIFFERENCES * scale for scale in self._scales]
        if all((s.error <= m).all() for s, m in zip(slopes, margins, strict=True)):
            return slopes
        exact = complex_step(self._plain, floats, dy)
        if exact is None or any(
            not (np.abs(c - s.value) <= m + 4 * s.error).all()
            for c, s, m in zip(exact, slopes, margins, strict=True)
        ):
            return slopes
        return [
            s._replace(value=c, error=np.zeros_like(c)) for s, c in zip(slopes, exact, strict=True)
        ]

    def _draw(self) -> Any:
        def draw(y: Any) -> Any:
            values = self._random.normal(size=y.shape)
            return jnp.asarray(np.copysign(np.abs(values) + 0.1, values), y.dtype)

        return jax.tree.map(draw, self._y)

    def _pull_back(self, floats: Sequence[Any], dy: Any) -> tuple[Any, ...]:
        """The rule as it stands: run it eagerly, or transform it."""
        residuals = self._rule_fwd(*floats)[1]
        return self._leaves.cotangents(self._rule.bwd(residuals, dy), floats)

    def _jitted(self, dy: Any) -> tuple[Any, ...]:
        return self._leaves.cotangents(self._bwd(self._jit_residuals, dy), self._leaves.floats)

    def _attempt(self, check: str, mode: str, run: Callable[..., Any], *args: Any) -> Any:
        """The result, or a problem where the rule raises."""
        try:
            return run(*args)
        except StructureError as error:
            self._fail("structure", str(error), error.argument)
        except Exception as error:  # whatever a stranger's rule raises
            text = str(error).split("\n", 1)[0]
            self._fail(check, f"bwd fails {mode}: {type(error).__name__}: {text}")

    def _add(self, check: str, message: str, argument: str | None = None) -> None:
        self._report.problems.append(Problem(check, message, argument))

    def _fail(self, check: str, message: str, argument: str | None = None) -> NoReturn:
        self._add(check, message, argument)
        raise _Stop

    def _stop_if_wrong(self) -> None:
        if self._report.problems:
            raise _Stop


@partial(jax.jit, static_argnums=0)
def _autodiff(plain: OnFloats, floats: Sequence[Any], dy: Any) -> tuple[Any, Any]:
    return oracles.cotangents(plain, floats, dy), condition_scales(plain, floats, dy)


@cache
def _jit(oracle: Callable[..., Any]) -> Callable[..., Any]:
    """An oracle compiled for the function that is its first argument."""
    return jax.jit(oracle, static_argnums=0)


def _kinds(leaves: Sequence[Any]) -> str:
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)


def _is_plain(array: Any) -> bool:
    return not jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def _numpy(array: Any) -> np.ndarray:
    """As float64, and integers as they are."""
    return np.asarray(array, "float64") if is_float(array) else np.asarray(array)


def _all_numpy(arrays: Sequence[Any]) -> list[np.ndarray]:
    return [_numpy(array) for array in arrays]
