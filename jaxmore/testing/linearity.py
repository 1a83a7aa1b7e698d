"""The third check: the backward function is linear in the cotangent."""

import jax
import numpy as np

from jaxmore.testing.case import Case, all_numpy
from jaxmore.testing.diagnosis import where
from jaxmore.testing.judgement import AUTODIFF, worst


def check_linearity(case: Case) -> None:
    """Check that bwd is linear: dy of zero gives zeros, 4 dy gives 4 times the bits."""
    a, b = 0.75, -1.25
    combine = jax.tree.map(lambda d1, d2: a * d1 + b * d2, *case.dys)
    factors = (0.0, 4.0, 2.0**40, 2.0**-40)
    combined, of_zero, *scaled = (
        all_numpy(case.run_bwd(case.residuals, dy))
        for dy in (combine, *([factor * d for d in case.dys[0]] for factor in factors))
    )
    first, second = map(all_numpy, case.jitted)
    for i, name in enumerate(case.leaves.float_names):
        with np.errstate(all="ignore"):
            off = np.abs(combined[i] - (a * first[i] + b * second[i]))
        wrong = ~(off <= AUTODIFF * 2 * (case.scales[0][i] + case.scales[1][i]))
        wrong &= np.isfinite(first[i]) & np.isfinite(second[i])
        if wrong.any():
            text = "bwd is not linear: bwd(a dy₁ + b dy₂) is not a bwd(dy₁) + b bwd(dy₂)"
            case.add("linearity", f"{name}: {text}, {where(wrong)}", name)
            continue
        nonzero = np.where(np.isfinite(first[i]), of_zero[i], 0)
        if nonzero.any():  # NaN is true
            worst_value = nonzero[worst(np.abs(nonzero))]
            case.add("linearity", f"{name}: a dy of zero gives {worst_value}, not 0", name)
            continue
        normal = (np.abs(first[i]) > 1e-270) & (np.abs(first[i]) < 1e270)
        for factor, of_factor in zip(factors[1:], scaled, strict=True):
            with np.errstate(all="ignore"):
                other = of_factor[i] != factor * first[i]
            if (other & normal).any():
                times = "4" if factor == 4 else f"2^{int(np.log2(factor))}"
                text = f"{name}: {times} dy does not give {times} times the bits"
                case.add("linearity", text, name)
                break
    case.stop_if_wrong()
