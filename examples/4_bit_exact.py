# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why is my gradient not bit-exact?
#
# You derive a gradient, you compare it with autodiff, and the last digits differ. Is it wrong? This notebook goes
# through the reasons one by one: rounding, condition, approximations such as tanh, and fused multiply-add. At its
# end stands the table of a whole network.

# %% tags=["install"]
# %pip install --quiet "jaxmore @ git+https://github.com/jaxmore/jaxmore"

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxmore import ninja

EPS = np.finfo(np.float32).eps
print(f"float32 has 24 bits: neighbours near 1 are {EPS:.2e} apart")

# %% [markdown]
# ## 1. Rounding: a sum depends on its order
#
# Each addition rounds. Another order rounds elsewhere, so two correct programs give different bits.

# %%
numbers = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
one_by_one = np.float32(0)
for number in numbers:
    one_by_one += number
pairwise = numbers.sum()
exact = numbers.astype(np.float64).sum()
print(f"one by one {one_by_one:.6f}   pairwise {pairwise:.6f}   exact {exact:.6f}")

# %%
scale = np.abs(numbers).sum()
assert one_by_one != pairwise
assert abs(one_by_one - exact) < 10_000 * EPS * scale

# %% [markdown]
# The bound in the last line is the rule: the error of a sum is small beside the sum of the **absolute** values, the
# condition scale. It need not be small beside the result.
#
# ## 2. Condition: a result that cancels keeps the noise only
#
# BatchNorm subtracts the mean, so the bias before it has the gradient zero, by identity. In floats it is not zero:

# %%
C, W1, b1, W2, b2, bngain, bnbias, X, Y = ninja.batch()
parameters = ninja.stepwise.Parameters(C, W1, b1, W2, b2, bngain, bnbias)
values = ninja.stepwise.forward(parameters, X, Y)
d = ninja.stepwise.backward(parameters, X, Y, values)
print(f"largest |db1|  {jnp.abs(d.b1).max():.1e}, and it should be 0")
print(f"largest |dhprebn| that it sums  {jnp.abs(d.hprebn).max():.1e}")

# %% [markdown]
# A comparison "relative to the result" would call this 100 % wrong. Relative to what was summed it is rounding:

# %%
condition_scale = jnp.abs(d.hprebn).sum(0)
in_units = (jnp.abs(d.b1) / condition_scale / EPS).max()
print(f"{in_units:.2f} rounding units of the condition scale")
assert in_units < len(X)

# %% [markdown]
# That is why `jaxmore.testing` measures every error in units of the condition scale, and in float64, where rounding is
# so small that a mistake cannot hide in it.
#
# ## 3. Approximations: tanh is not tanh
#
# XLA computes `tanh` in float32 by a quotient of polynomials, and other libraries by others. In units in the last
# place (ULP):


# %%
def ulps(approximate, exact):
    exact32 = exact.astype(np.float32)
    return np.abs(approximate.astype(np.float64) - exact) / np.spacing(np.abs(exact32))


points = np.linspace(-4, 4, 100_001).astype(np.float32)
by_xla = np.asarray(jnp.tanh(points))
by_numpy = np.tanh(points)
exact = np.tanh(points.astype(np.float64))
print(
    f"largest error: XLA {ulps(by_xla, exact).max():.2f} ULP, NumPy {ulps(by_numpy, exact).max():.2f} ULP"
)

# %%
assert ulps(by_xla, exact).max() < 8

# %% [markdown]
# The derivative is $1 - \tanh^2$. Near $\pm 1$ the subtraction cancels, and what was a ULP of tanh becomes many of the
# derivative:

# %%
slope = 1 - by_xla.astype(np.float32) ** 2
true_slope = 1 - exact**2
for at in (0.5, 2.0, 4.0):
    i = np.abs(points - at).argmin()
    print(
        f"x = {at}: tanh off by {ulps(by_xla, exact)[i]:.1f} ULP, its slope by {ulps(slope, true_slope)[i]:.1f}"
    )

# %% [markdown]
# The autodiffs of JAX and PyTorch compute the slope from the rounded tanh, too, and lose the same digits.
#
# ## 4. Fused multiply-add: the compiler rounds once where you round twice
#
# Under `jit` XLA may compute `a * b + c` with a single rounding. Eagerly each operation rounds.

# %%
rng = np.random.default_rng(1)
a, b, c = (jnp.array(rng.normal(size=1000), jnp.float32) for _ in range(3))


def multiply_add(a, b, c):
    return a * b + c


eager, compiled = multiply_add(a, b, c), jax.jit(multiply_add)(a, b, c)
exact = np.asarray(a, np.float64) * np.asarray(b, np.float64) + np.asarray(c, np.float64)
print(f"{(eager != compiled).sum()} of 1000 differ")
for name, result in ("eager", eager), ("compiled", compiled):
    print(f"{name:8} mean error {np.abs(np.asarray(result, np.float64) - exact).mean():.2e}")

# %% [markdown]
# The compiled results are closer to the truth, and still "not equal". How many differ depends on the processor and on
# the version of XLA.
#
# ## 5. The table
#
# The 26 cotangents of a network with embedding, BatchNorm, tanh and cross-entropy, by hand and by `jax.vjp`, in
# float32:

# %%
table = ninja.stepwise_table(parameters, X, Y, "float32")
print(ninja.format_table(table))

# %% [markdown]
# Only a few are equal bit for bit, and all are right. In float64 the largest difference shrinks by eight orders of magnitude:

# %%
in_64 = ninja.stepwise_table(parameters, X, Y, "float64")
for name, lines in ("float32", table), ("float64", in_64):
    print(f"{name}: largest difference {max(line.maxdiff for line in lines):.1e}")
assert all(line.approximate for line in in_64)
assert max(line.maxdiff for line in in_64) < 1e-14

# %% [markdown]
# So: compare in float64, in units of the condition scale, and ask for bits only where both sides round in the same
# order. [How exact every gradient is](https://jaxmore.github.io/jaxmore/exactness.html) measures all rules beside
# `jax.grad` and PyTorch.
