# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From makemore.py and microgpt to jaxmore
#
# You know Karpathy's `makemore.py` or his 200-line `microgpt`. This notebook does with jaxmore what you did there:
# the same models, data forms, splits and defaults, and the same `model.pt`.

# %% tags=["install"]
# %pip install --quiet "jaxmore @ git+https://github.com/jaxmore/jaxmore"

# %%
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxmore
from jaxmore.interop import convert

words_file = Path(jaxmore.corpus_path())
words = jaxmore.read_words(words_file)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## makemore.py
#
# | makemore.py | in a shell | here |
# |---|---|---|
# | `python makemore.py -i names.txt -o out` | `jaxmore train -i names.txt -o out --type transformer` | `fit(Path("names.txt"), "transformer", work_dir="out")` |
# | `--sample-only` | `jaxmore sample` | `sample(load("out"))` |
# | `--resume` | `jaxmore train --resume` | `fit(..., resume=True)` |
# | a line every 500 steps | `--eval-every 500` | `eval_every=500` |
# | `out/model.pt` | `jaxmore convert` | `interop.convert` |
#
# The transformer has its 204,544 parameters, AdamW and its held-out words. A short run:

# %%
trained = jaxmore.fit(
    words_file, "transformer", max_steps=30, chunk_size=10, work_dir=folder / "out"
)
trained.record["losses"]

# %%
jaxmore.sample(trained, 5)

# %% [markdown]
# ### model.pt, there and back
#
# `convert` writes the file that makemore.py's `--resume` and `--sample-only` read, and reads it again. No PyTorch is
# needed and no code in the file is run. The way back gives the same bits:

# %%
convert(folder / "out", folder / "model.pt")
back = convert(folder / "model.pt", folder / "back", input_file=words_file)
same = jax.tree.map(lambda a, b: bool((a == b).all()), trained.params, back.params)
print(f"model.pt has {(folder / 'model.pt').stat().st_size:,} bytes")
assert all(jax.tree.leaves(same))

# %% [markdown]
# ## microgpt
#
# microgpt differentiates a GPT of 4,192 parameters one scalar at a time. Here the same network is an expression:

# %%
vocab = jaxmore.Vocabulary.from_words(words)
gpt = jaxmore.models.microgpt(vocab.size)
gpt

# %% [markdown]
# Its scalars are `Value` objects, each with a `grad`. Here a gradient is a tree of arrays, computed by the backward
# functions of the layers. One word, as in microgpt's step, against JAX's automatic gradient:

# %%
params = gpt.init(jax.random.key(42))
x, y = jaxmore.sequences(["emma"], vocab, 16)
loss, grads = jax.jit(jaxmore.loss_and_grad, static_argnums=0)(gpt, params, x, y)


def loss_by_jax(params):
    log_probs = jax.nn.log_softmax(gpt.fwd(params, x)[0])
    of_targets = jnp.take_along_axis(log_probs, jnp.maximum(y, 0)[..., None], -1)[..., 0]
    seen = y >= 0  # -1 marks the places after the end
    return -(of_targets * seen).sum() / seen.sum()


theirs = jax.grad(loss_by_jax)(params)
difference = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), grads, theirs)
print(f"loss {loss:.4f}, largest difference of a gradient {max(jax.tree.leaves(difference)):.1e}")
assert max(jax.tree.leaves(difference)) < 1e-6

# %% [markdown]
# Train it for its thousand steps of one word each, with its Adam (betas 0.85 and 0.99) and its linear decay. In pure
# Python this takes a minute or more; here most of the time is compilation.

# %%
small = jaxmore.fit(words, "microgpt")
print({name: round(loss, 3) for name, loss in small.record["losses"].items()})
print(jaxmore.sample(small, 10))  # at its temperature, 0.5

# %%
assert small.record["losses"]["test"] < 2.9

# %% [markdown]
# `jaxmore replay microgpt -i names.txt` goes further: from Python's own random numbers it repeats microgpt's thousand
# losses and its twenty names.
#
# Next: [From makemore.py to jaxmore](https://jaxmore.github.io/jaxmore/makemore.html) lists every flag.
