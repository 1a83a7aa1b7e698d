# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Becoming a backprop ninja, in JAX: the solution
#
# A small network runs once: 32 contexts of three characters go through an embedding, a linear layer, BatchNorm, tanh,
# another linear layer and cross-entropy, and one number comes out, the loss. Every step is a line of its own. You
# write the way back. For each variable `x` find its **cotangent** `dx`: how much the loss changes when one element of
# `x` changes. It has the shape of `x`. There are 26, and each follows from those before it. Two rules are enough:
#
# 1. A line `y = f(a, b)` sends `dy` to `a` and to `b`, each times its own slope (through a matrix product: times the
#    other matrix, transposed).
# 2. A variable that two lines use, or that is copied along an axis, collects the **sum** of what comes back.
#
# Go from the top down: a cell uses the cotangents of the cells above it. The exercise is Andrej Karpathy's
# ([zero-to-hero, lecture 5](https://github.com/karpathy/nn-zero-to-hero)). In a terminal, `jaxmore exercise` and
# `jaxmore check` do the same with more hints, and they judge every line as if all others were right.

# %% tags=["install"]
# %pip install --quiet "jaxmore @ git+https://github.com/jaxmore/jaxmore"

# %%
import jax
import jax.numpy as jnp

from jaxmore import ninja
from jaxmore.ninja.comparison import autodiff_cotangents

jax.config.update("jax_enable_x64", True)  # so that a difference is a mistake, not rounding

C, W1, b1, W2, b2, bngain, bnbias, X, Y = ninja.batch()
n = X.shape[0]
X.shape, Y.shape

# %% [markdown]
# ## The forward pass

# %%
emb = C[X]  # the characters of each context as vectors
embcat = emb.reshape(n, -1)  # side by side
# Linear layer 1
hprebn = embcat @ W1 + b1
# BatchNorm
bnmeani = 1 / n * hprebn.sum(0, keepdims=True)
bndiff = hprebn - bnmeani
bndiff2 = bndiff**2
bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdims=True)  # n - 1: the unbiased variance
bnvar_inv = (bnvar + 1e-5) ** -0.5
bnraw = bndiff * bnvar_inv
hpreact = bngain * bnraw + bnbias
# Non-linearity
h = jnp.tanh(hpreact)
# Linear layer 2
logits = h @ W2 + b2
# Cross-entropy
logit_maxes = logits.max(1, keepdims=True)
norm_logits = logits - logit_maxes  # so that exp cannot overflow
counts = jnp.exp(norm_logits)
counts_sum = counts.sum(1, keepdims=True)
counts_sum_inv = counts_sum**-1
probs = counts * counts_sum_inv
logprobs = jnp.log(probs)
loss = -logprobs[jnp.arange(n), Y].mean()

loss

# %% [markdown]
# ## The judge
#
# `jax.vjp` computes every cotangent. `check` compares yours with it: *exact* means equal bit for bit, *approximate*
# within 1e-8 plus 1e-5 times JAX's value, and *maxdiff* is the largest difference.

# %%
parameters = ninja.stepwise.Parameters(C, W1, b1, W2, b2, bngain, bnbias)
of_parameters, of_intermediates = autodiff_cotangents(parameters, X, Y)
right = of_parameters._asdict() | of_intermediates._asdict()
missing = []


def check(name, yours):
    if yours is ...:
        missing.append(name)
        print(f"d{name}: to be written, shape {right[name].shape}")
    elif jnp.shape(yours) != right[name].shape:
        print(f"d{name} has shape {jnp.shape(yours)}, it needs {right[name].shape}")
    else:
        print(ninja.compare(name, yours, right[name]))


# %% [markdown]
# ## Exercise 1: one line for each line of the forward pass

# %% [markdown]
# **dlogprobs**, shape (32, 27), from `loss = -logprobs[jnp.arange(n), Y].mean()`. The loss looks up one number in
# each row. What does it feel when any other one moves?
#
# <details><summary>A hint</summary>The mean over n examples, with a minus sign, gives each number that is looked up
# the same slope, and the others zero. Begin with zeros and set the places [jnp.arange(n), Y].</details>

# %%
dlogprobs = jnp.zeros_like(logprobs).at[jnp.arange(n), Y].set(-1 / n)
check("logprobs", dlogprobs)

# %% [markdown]
# **dprobs**, shape (32, 27), from `logprobs = jnp.log(probs)`. Elementwise: what is the slope of log?
#
# <details><summary>A hint</summary>The slope of log p is 1/p. Multiply it at each element by the cotangent of
# logprobs there.</details>

# %%
dprobs = dlogprobs / probs
check("probs", dprobs)

# %% [markdown]
# **dcounts_sum_inv**, shape (32, 1), from `probs = counts * counts_sum_inv`. One number a row, shape (32, 1), was
# broadcast over 27 columns. Which sum undoes a broadcast?
#
# <details><summary>A hint</summary>Two steps. The product rule: each factor gets dprobs times the other factor, here
# a whole (32, 27). Then the 27 columns of a row all belong to one number: they add up, and keepdims=True keeps the
# shape (32, 1).</details>

# %%
dcounts_sum_inv = (counts * dprobs).sum(1, keepdims=True)
check("counts_sum_inv", dcounts_sum_inv)

# %% [markdown]
# **dcounts_sum**, shape (32, 1), from `counts_sum_inv = counts_sum**-1`. The power rule, with exponent -1. What
# becomes of the exponent, and of the sign?
#
# <details><summary>A hint</summary>The slope of s^a is a s^(a-1), here with a = -1. Multiply it by the cotangent
# dcounts_sum_inv.</details>

# %%
dcounts_sum = -(counts_sum**-2) * dcounts_sum_inv
check("counts_sum", dcounts_sum)

# %% [markdown]
# **dcounts**, shape (32, 27), from `counts_sum = counts.sum(1, keepdims=True)` and `probs = counts *
# counts_sum_inv`. counts is used twice: in probs and in counts_sum. What becomes of two cotangents?
#
# <details><summary>A hint</summary>They add. By way of probs: dprobs times the other factor. By way of counts_sum: a
# sum moves as much as each of its terms, so every entry of a row gets that row's number.</details>

# %%
dcounts = counts_sum_inv * dprobs + dcounts_sum
check("counts", dcounts)

# %% [markdown]
# **dnorm_logits**, shape (32, 27), from `counts = jnp.exp(norm_logits)`. Which function is its own derivative?
#
# <details><summary>A hint</summary>The slope of exp(x) is exp(x), and exp(norm_logits) has a name on that very
# line.</details>

# %%
dnorm_logits = counts * dcounts
check("norm_logits", dnorm_logits)

# %% [markdown]
# **dlogit_maxes**, shape (32, 1), from `norm_logits = logits - logit_maxes`. One number a row was taken away from 27
# of them: a broadcast and a minus sign.
#
# <details><summary>A hint</summary>Undo the broadcast by a sum over the axis it went along (keep the axis), and mind
# the sign. On the real batch it comes out as zero, since the loss does not depend on what is subtracted. In a
# terminal, jaxmore check puts other numbers for dnorm_logits, and the line must hold there, too.</details>

# %%
dlogit_maxes = -dnorm_logits.sum(1, keepdims=True)
check("logit_maxes", dlogit_maxes)

# %% [markdown]
# **dlogits**, shape (32, 27), from `logit_maxes = logits.max(1, keepdims=True)` and `norm_logits = logits -
# logit_maxes`. logits is used twice: for the maximum, and in norm_logits. Which entries does a maximum feel?
#
# <details><summary>A hint</summary>norm_logits hands its cotangent on as it is. The maximum of a row hands its own to
# one entry, the largest: jax.nn.one_hot(logits.argmax(1), 27) marks it. Add the two. (The short form of the whole is
# Exercise 2. In a terminal, jaxmore check puts other numbers above this line.)</details>

# %%
dlogits = dnorm_logits + jax.nn.one_hot(logits.argmax(1), logits.shape[1]) * dlogit_maxes
check("logits", dlogits)

# %% [markdown]
# **dh**, shape (32, 64), from `logits = h @ W2 + b2`. A matrix product. Which product of dlogits, (32, 27), and W2,
# (64, 27), has h's shape?
#
# <details><summary>A hint</summary>For y = x W the cotangent of x is dy times W transposed: only so do the shapes
# fit.</details>

# %%
dh = dlogits @ W2.T
check("h", dh)

# %% [markdown]
# **dW2**, shape (64, 27), from `logits = h @ W2 + b2`. A matrix product. Which product of h, (32, 64), and dlogits,
# (32, 27), has W2's shape?
#
# <details><summary>A hint</summary>For y = x W the cotangent of W is x transposed times dy: the examples are summed
# over.</details>

# %%
dW2 = h.T @ dlogits
check("W2", dW2)

# %% [markdown]
# **db2**, shape (27,), from `logits = h @ W2 + b2`. b2, shape (27,), was added to each of 32 rows: a broadcast.
# Which sum undoes it?
#
# <details><summary>A hint</summary>Every row has the same b2 in it, with slope 1: add the rows up.</details>

# %%
db2 = dlogits.sum(0)
check("b2", db2)

# %% [markdown]
# **dhpreact**, shape (32, 64), from `h = jnp.tanh(hpreact)`. The slope of tanh can be told from its output alone.
# How?
#
# <details><summary>A hint</summary>tanh' = 1 - tanh^2, and tanh(hpreact) has a name already.</details>

# %%
dhpreact = (1 - h**2) * dh
check("hpreact", dhpreact)

# %% [markdown]
# **dbngain**, shape (1, 64), from `hpreact = bngain * bnraw + bnbias`. bngain, shape (1, 64), multiplies each of 32
# rows. Product rule, then which sum?
#
# <details><summary>A hint</summary>The other factor times dhpreact, (32, 64); then the sum over the axis that bngain
# was broadcast along, with keepdims=True.</details>

# %%
dbngain = (bnraw * dhpreact).sum(0, keepdims=True)
check("bngain", dbngain)

# %% [markdown]
# **dbnbias**, shape (1, 64), from `hpreact = bngain * bnraw + bnbias`. bnbias, shape (1, 64), was added to each of
# 32 rows. Which sum undoes a broadcast?
#
# <details><summary>A hint</summary>The slope is 1: the rows of dhpreact add up, with keepdims=True.</details>

# %%
dbnbias = dhpreact.sum(0, keepdims=True)
check("bnbias", dbnbias)

# %% [markdown]
# **dbnraw**, shape (32, 64), from `hpreact = bngain * bnraw + bnbias`. The product rule. Each row of bnraw has
# numbers of its own: is a sum needed?
#
# <details><summary>A hint</summary>The other factor, bngain, times dhpreact: (1, 64) spreads over the 32 rows as
# before.</details>

# %%
dbnraw = bngain * dhpreact
check("bnraw", dbnraw)

# %% [markdown]
# **dbnvar_inv**, shape (1, 64), from `bnraw = bndiff * bnvar_inv`. bnvar_inv, shape (1, 64), multiplies each of 32
# rows. Product rule, then which sum?
#
# <details><summary>A hint</summary>The other factor times dbnraw, (32, 64); then the sum over the axis that
# bnvar_inv was broadcast along, with keepdims=True.</details>

# %%
dbnvar_inv = (bndiff * dbnraw).sum(0, keepdims=True)
check("bnvar_inv", dbnvar_inv)

# %% [markdown]
# **dbnvar**, shape (1, 64), from `bnvar_inv = (bnvar + 1e-5) ** -0.5`. The power rule, with exponent -0.5: which
# exponent is left? What stands inside the power?
#
# <details><summary>A hint</summary>The slope of s^a is a s^(a-1), with s = bnvar + 1e-5: a comes to the front, the
# exponent goes down by one, and the 1e-5 stays inside.</details>

# %%
dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
check("bnvar", dbnvar)

# %% [markdown]
# **dbndiff2**, shape (32, 64), from `bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdims=True)`. bnvar is a sum over 32
# rows, with a factor before it. What does each row get?
#
# <details><summary>A hint</summary>Here the forward line sums, so the backward line copies: a sum hands its cotangent
# to every row alike, times the factor 1/(n-1). The shape must be (32, 64): let jnp.ones_like(bndiff2) spread
# it.</details>

# %%
dbndiff2 = 1 / (n - 1) * jnp.ones_like(bndiff2) * dbnvar
check("bndiff2", dbndiff2)

# %% [markdown]
# **dbndiff**, shape (32, 64), from `bndiff2 = bndiff**2` and `bnraw = bndiff * bnvar_inv`. bndiff is used twice: in
# bndiff2 and in bnraw. What becomes of two cotangents?
#
# <details><summary>A hint</summary>They add. By way of bnraw: dbnraw times the other factor. By way of bndiff2: the
# slope of a square is twice what is squared.</details>

# %%
dbndiff = bnvar_inv * dbnraw + 2 * bndiff * dbndiff2
check("bndiff", dbndiff)

# %% [markdown]
# **dbnmeani**, shape (1, 64), from `bndiff = hprebn - bnmeani`. bnmeani, shape (1, 64), was taken away from each of
# 32 rows: a broadcast and a sign.
#
# <details><summary>A hint</summary>The slope is -1, and the rows of dbndiff add up, with keepdims=True.</details>

# %%
dbnmeani = -dbndiff.sum(0, keepdims=True)
check("bnmeani", dbnmeani)

# %% [markdown]
# **dhprebn**, shape (32, 64), from `bnmeani = 1 / n * hprebn.sum(0, keepdims=True)` and `bndiff = hprebn - bnmeani`.
# hprebn is used twice: in bnmeani and in bndiff. What becomes of two cotangents?
#
# <details><summary>A hint</summary>They add. bndiff hands its cotangent on as it is. The mean hands each row its 1/n
# of dbnmeani, and that broadcast goes the right way by itself.</details>

# %%
dhprebn = dbndiff + 1 / n * dbnmeani
check("hprebn", dhprebn)

# %% [markdown]
# **dembcat**, shape (32, 30), from `hprebn = embcat @ W1 + b1`. A matrix product. Which product of dhprebn, (32,
# 64), and W1, (30, 64), has its shape?
#
# <details><summary>A hint</summary>As for h: dy times the weight transposed.</details>

# %%
dembcat = dhprebn @ W1.T
check("embcat", dembcat)

# %% [markdown]
# **dW1**, shape (30, 64), from `hprebn = embcat @ W1 + b1`. A matrix product. Which product of embcat, (32, 30), and
# dhprebn, (32, 64), has its shape?
#
# <details><summary>A hint</summary>As for W2: the input transposed, times dy.</details>

# %%
dW1 = embcat.T @ dhprebn
check("W1", dW1)

# %% [markdown]
# **db1**, shape (64,), from `hprebn = embcat @ W1 + b1`. b1, shape (64,), was added to each of 32 rows: a broadcast.
# Which sum undoes it?
#
# <details><summary>A hint</summary>Add the rows of dhprebn up. On the real batch it comes out as zero: BatchNorm
# takes the mean away, and b1 with it. In a terminal, jaxmore check puts other numbers for dhprebn, and the line must
# hold there, too.</details>

# %%
db1 = dhprebn.sum(0)
check("b1", db1)

# %% [markdown]
# **demb**, shape (32, 3, 10), from `embcat = emb.reshape(n, -1)`. The same numbers in another shape. What is the way
# back?
#
# <details><summary>A hint</summary>A reshape moves nothing: give dembcat the shape (32, 3, 10).</details>

# %%
demb = dembcat.reshape(emb.shape)
check("emb", demb)

# %% [markdown]
# **dC**, shape (27, 10), from `emb = C[X]`. A row of C is used wherever its character stands in X. What if that is
# at many places?
#
# <details><summary>A hint</summary>Each use sends its own row of demb back, and they add: begin with zeros of C's
# shape; .at[X].add adds up where an id comes back, .at[X].set keeps only one of them.</details>

# %%
dC = jnp.zeros_like(C).at[X].add(demb)
check("C", dC)

# %% [markdown]
# `dlogit_maxes` is zero up to rounding: the loss does not depend on the number that is subtracted from all logits.
# `db1` is zero as well: BatchNorm subtracts the mean, and with it whatever `b1` added to all examples.

# %% [markdown]
# ## Exercise 2: the cross-entropy in one line
#
# There are eight lines from the logits to the loss. Derive `dlogits` from `logits` and `Y` alone. In
# $\mathrm{loss} = \frac{1}{n}\sum_i (\log \sum_v e^{z_{iv}} - z_{i,Y_i})$ take the derivative with respect to $z_{iv}$.

# %%
dlogits_fast = (jax.nn.softmax(logits) - jax.nn.one_hot(Y, logits.shape[1])) / n
check("logits", dlogits_fast)

# %% [markdown]
# ## Exercise 3: BatchNorm in one line
#
# Derive `dhprebn` from `dhpreact`, `bngain`, `bnraw` and `bnvar_inv` alone. The mean and the variance both depend on
# every example, so each example receives something from all of them.

# %%
total = n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0)
dhprebn_fast = bngain * bnvar_inv / n * total
check("hprebn", dhprebn_fast)

# %% [markdown]
# ## Exercise 4: train with it
#
# The notebooks train this network with such a backward pass. jaxmore's own is the same 26 lines, compiled:


# %%
@jax.jit
def step(p):
    d = ninja.stepwise.backward(p, X, Y, ninja.stepwise.forward(p, X, Y))
    return p._make(getattr(p, name) - 0.1 * getattr(d, name) for name in p._fields)


trained = parameters
for _ in range(100):
    trained = step(trained)
after = ninja.stepwise.forward(trained, X, Y).loss
print(f"the loss of this batch: {loss:.4f}, after 100 steps {after:.4f}")

# %%
print("all written" if not missing else f"{len(missing)} to be written: next d{missing[0]}")
