"""The fifth check: in a narrower dtype the cotangents keep it and are as good as it allows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing import oracles
from jaxmore.testing.case import NARROW, Case, all_numpy, to_numpy
from jaxmore.testing.contract import check_primal
from jaxmore.testing.judgement import share


def check_narrow(case: Case, dtype: str) -> None:
    """Compare the rule in a narrower dtype with float64 on the same inputs."""
    narrow = tuple(x.astype(dtype) for x in case.leaves.floats)
    shapes = jax.eval_shape(case.plain, *narrow)
    # All of one sign: a narrow accumulator loses most in a sum of such terms.
    dy = jax.tree.map(lambda d, y: jnp.abs(d).astype(y.dtype), case.dys[0], shapes)

    @jax.jit
    def everything(narrow: Any, dy: Any) -> tuple[Any, ...]:
        ours = case.pull_back(narrow, dy)
        return (
            case.plain(*narrow),
            case.rule_fwd(*narrow)[0],
            ours,
            oracles.cotangents(case.plain, narrow, dy),
        )

    plain, y, ours, autodiffs = case.attempt("dtypes", f"in {dtype}", everything, narrow, dy)
    if not all(np.isfinite(to_numpy(leaf)).all() for leaf in [*narrow, *jax.tree.leaves(plain)]):
        case.report.notes.append(f"{dtype}: the forward overflows; not checked")
        return
    check_primal(case, plain, y)
    ours, autodiffs = all_numpy(ours), all_numpy(autodiffs)
    truth, scales = case.truth(
        tuple(x.astype("float64") for x in narrow),
        jax.tree.map(lambda d: d.astype("float64"), dy),
    )
    info = jnp.finfo(dtype)
    for i, name in enumerate(case.leaves.float_names):
        if np.abs(truth[i]).max(initial=0) > float(info.max):
            case.report.notes.append(f"{dtype}: the cotangent of {name} overflows")
            continue
        mine, theirs = (
            # An error below the dtype's smallest number does not count.
            share(np.maximum(np.abs(d - truth[i]) - float(info.smallest_subnormal), 0),
                   float(info.eps) * float(np.nan_to_num(scales[i], posinf=0).max(initial=0)))
            for d in (ours[i], autodiffs[i])
        )  # fmt: skip
        case.report.rows[i].narrow[dtype] = mine
        if not mine <= max(NARROW, 4 * theirs):
            text = (
                f"{name}: in {dtype} it is off by {mine:.0f} eps of its condition scale "
                f"(autodiff by {theirs:.0f}); are sums taken in float32?"
            )
            case.add("dtypes", text, name)
    case.stop_if_wrong()
