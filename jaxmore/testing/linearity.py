"""The third check: the backward function is linear in the cotangent."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.case import Case, all_numpy
from jaxmore.testing.diagnosis import where
from jaxmore.testing.judgement import AUTODIFF, worst


def check_linearity(case: Case) -> None:
    """Check that bwd is linear: dy of zero gives zeros, 4 dy gives 4 times the bits."""
    a, b = 0.75, -1.25
    combine = jax.tree.map(lambda d1, d2: a * d1 + b * d2, *case.dys)
    combined, of_zero, of_four = (
        all_numpy(case.run_bwd(case.residuals, dy))
        for dy in (
            combine,
            jax.tree.map(jnp.zeros_like, case.dys[0]),
            jax.tree.map(lambda d: 4 * d, case.dys[0]),
        )
    )
    first, second = map(all_numpy, case.jitted)
    for i, name in enumerate(case.leaves.float_names):
        off = np.abs(combined[i] - (a * first[i] + b * second[i]))
        wrong = ~(off <= AUTODIFF * 2 * (case.scales[0][i] + case.scales[1][i]))
        if wrong.any():
            text = "bwd is not linear: bwd(a dy₁ + b dy₂) is not a bwd(dy₁) + b bwd(dy₂)"
            case.add("linearity", f"{name}: {text}, {where(wrong)}", name)
        elif of_zero[i].any():  # NaN is true
            worst_value = of_zero[i][worst(np.abs(of_zero[i]))]
            case.add("linearity", f"{name}: a dy of zero gives {worst_value}, not 0", name)
        elif ((of_four[i] != 4 * first[i]) & (np.abs(first[i]) > 1e-280)).any():
            case.add("linearity", f"{name}: 4 dy does not give 4 times the bits", name)
    case.stop_if_wrong()
