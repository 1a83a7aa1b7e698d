# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Write your own VJP and prove it
#
# JAX lets you replace the derivative of a function by your own (`jax.custom_vjp`). A wrong one raises no error. The
# loss falls all the same, and a loss curve does not show the mistake. In this notebook a wrong backward function trains
# a network, a check finds what is wrong, and the mended rule is proven and used in Flax NNX and in Equinox.

# %% tags=["install"]
# %pip install --quiet "jaxmore @ git+https://github.com/jaxmore/jaxmore"

# %%
import jax
import jax.numpy as jnp
import optax

from jaxmore import custom_vjp
from jaxmore.prove import prove_rule
from jaxmore.testing import RuleError, check_rule

# %% [markdown]
# ## A rule: RMS normalisation
#
# $y = g \cdot x / r$ with $r = \sqrt{\mathrm{mean}(x^2) + \varepsilon}$ over the last axis. The forward function returns
# the output and what the backward function needs, the residuals. The backward function takes the residuals and the
# cotangent `dy`, and returns one cotangent for each argument.


# %%
def norm(x, gain):
    return norm_fwd(x, gain)[0]


def norm_fwd(x, gain):
    inverse = jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return gain * x * inverse, (x, gain, inverse)


def wrong_bwd(residuals, dy):
    x, gain, inverse = residuals
    dx = gain * inverse * dy
    dgain = (x * inverse * dy).sum(tuple(range(dy.ndim - 1)))
    return dx, dgain


# %% [markdown]
# Can you see the mistake? `wrong_bwd` forgets that `inverse` depends on `x` as well.
#
# ## It trains all the same
#
# Two hidden layers with the normalisation between them, on a small regression. The same network once with JAX's own
# derivative, once with the wrong rule:

# %%
key_x, key_1, key_2, key_3 = jax.random.split(jax.random.key(0), 4)
x = jax.random.normal(key_x, (256, 8))
target = jnp.sin(x).sum(-1)
start = {
    "first": 0.3 * jax.random.normal(key_1, (8, 32)),
    "gain": jnp.ones(32),
    "second": 0.2 * jax.random.normal(key_2, (32, 32)),
    "last": 0.2 * jax.random.normal(key_3, (32,)),
}


def loss_with(normalise):
    def loss(p):
        h = jnp.tanh(normalise(x @ p["first"], p["gain"]) @ p["second"])
        return ((h @ p["last"] - target) ** 2).mean()

    return loss


def train(normalise, steps=300):
    loss = loss_with(normalise)
    optimizer = optax.sgd(0.05)

    @jax.jit
    def step(p, state):
        value, grads = jax.value_and_grad(loss)(p)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(p, updates), state, value

    p, state, losses = start, optimizer.init(start), []
    for _ in range(steps):
        p, state, value = step(p, state)
        losses.append(float(value))
    return losses


by_jax = train(norm)
by_wrong = train(custom_vjp(norm, norm_fwd, wrong_bwd))
for name, losses in ("jax.grad", by_jax), ("wrong rule", by_wrong):
    print(f"{name:10}  first {losses[0]:.3f}  step 100 {losses[99]:.3f}  last {losses[-1]:.4f}")

# %%
assert by_wrong[-1] < 0.5 * by_wrong[0], "the wrong rule trains"

# %% [markdown]
# Both losses fall, to nearly the same value. The curve does not tell that the second gradient is wrong: its direction
# is still good enough for this task, and it need not be for the next one.
#
# ## The check
#
# One line in a test suite. `check_rule` compares every cotangent, element by element and in float64, with `jax.vjp`
# and with differences of the forward function that share no code with it.

# %%
some_x, some_gain = jax.random.normal(jax.random.key(1), (5, 7)), jnp.linspace(0.5, 2, 7)
try:
    check_rule(norm_fwd, wrong_bwd, some_x, some_gain)
except RuleError as error:
    print(error)
    found = error.report

# %% [markdown]
# `dgain` is right, `dx` is wrong, and the report says at which element and by how much.
#
# ## The derivation
#
# With $s = 1/r$ and $u = g\,dy$, and with sums over the last axis of length $n$:
#
# $$dx_j = s\,u_j + \frac{\partial s}{\partial x_j} \sum_i u_i x_i, \qquad
# \frac{\partial s}{\partial x_j} = -\tfrac12 s^3 \cdot \frac{2 x_j}{n} = -\frac{s^3 x_j}{n}$$


# %%
def norm_bwd(residuals, dy):
    x, gain, inverse = residuals
    scaled = gain * dy
    dx = inverse * scaled - inverse**3 * x * (scaled * x).mean(-1, keepdims=True)
    dgain = (x * inverse * dy).sum(tuple(range(dy.ndim - 1)))
    return dx, dgain


report = check_rule(norm_fwd, norm_bwd, some_x, some_gain)
report

# %%
print(report)

# %% [markdown]
# Every error is a fraction of the rounding unit, and `jit`, `vmap`, `scan` and `checkpoint` agree. This was float
# arithmetic with a tolerance. `prove_rule` needs none: it runs forward and backward in exact arithmetic.

# %%
proof = prove_rule(norm_fwd, norm_bwd, some_x, some_gain)
print(proof)

# %%
assert found.verdict == "wrong"
assert report.verdict == "right"

# %% [markdown]
# ## Use it
#
# `custom_vjp` binds the three functions. The result is an ordinary function for `jax.grad`, `jit` and `vmap`.

# %%
my_norm = custom_vjp(norm, norm_fwd, norm_bwd)
by_hand = train(my_norm)
print(f"jax.grad {by_jax[-1]:.6f}, by hand {by_hand[-1]:.6f}")

# %%
assert abs(by_hand[-1] - by_jax[-1]) < 1e-3 * by_jax[-1]

# %% [markdown]
# ### In Flax NNX

# %%
try:
    from flax import nnx
except ImportError:
    nnx = None
    print("pip install flax to run this cell")

if nnx:

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(8, 32, rngs=rngs)
            self.gain = nnx.Param(jnp.ones(32))
            self.last = nnx.Linear(32, 1, rngs=rngs)

        def __call__(self, x):
            return self.last(jnp.tanh(my_norm(self.first(x), self.gain[...])))[:, 0]

    @nnx.jit
    def nnx_step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda m: ((m(x) - target) ** 2).mean())(model)
        optimizer.update(model, grads)
        return loss

    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.05), wrt=nnx.Param)
    flax_losses = [float(nnx_step(model, optimizer)) for _ in range(100)]
    print(f"first {flax_losses[0]:.3f}, last {flax_losses[-1]:.3f}")
    assert flax_losses[-1] < 0.5 * flax_losses[0]

# %% [markdown]
# ### In Equinox

# %%
try:
    import equinox as eqx
except ImportError:
    eqx = None
    print("pip install equinox to run this cell")

if eqx:

    class Network(eqx.Module):
        first: eqx.nn.Linear
        gain: jax.Array
        last: eqx.nn.Linear

        def __init__(self, key):
            one, two = jax.random.split(key)
            self.first, self.gain = eqx.nn.Linear(8, 32, key=one), jnp.ones(32)
            self.last = eqx.nn.Linear(32, 1, key=two)

        def __call__(self, x):
            return self.last(jnp.tanh(my_norm(self.first(x), self.gain)))[0]

    @eqx.filter_jit
    def eqx_step(network):
        def loss_of(network):
            return ((jax.vmap(network)(x) - target) ** 2).mean()

        loss, grads = eqx.filter_value_and_grad(loss_of)(network)
        return loss, eqx.apply_updates(network, jax.tree.map(lambda g: -0.05 * g, grads))

    network, eqx_losses = Network(jax.random.key(0)), []
    for _ in range(100):
        loss, network = eqx_step(network)
        eqx_losses.append(float(loss))
    print(f"first {eqx_losses[0]:.3f}, last {eqx_losses[-1]:.3f}")
    assert eqx_losses[-1] < 0.5 * eqx_losses[0]

# %% [markdown]
# Next: the pages [Use your own rule under jax.grad](https://jaxmore.github.io/jaxmore/how-to/own-rule.html) and
# [Check a rule in your test suite](https://jaxmore.github.io/jaxmore/how-to/check-in-tests.html).
