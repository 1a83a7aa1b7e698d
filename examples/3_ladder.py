# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The ladder: from a bigram to a transformer
#
# One file of names, and seven models of growing ability: each predicts the next character from those before it. All
# train with the same function and with gradients derived by hand. The runs are short, so that the notebook takes less
# than two minutes on two cores; the page
# [Losses of every model](https://jaxmore.github.io/jaxmore/ladder.html) has the long ones.

# %% tags=["install"]
# %pip install --quiet "jaxmore @ git+https://github.com/jaxmore/jaxmore"

# %%
import math
import time

import jaxmore

words = jaxmore.read_words(jaxmore.corpus_path())
vocab = jaxmore.Vocabulary.from_words(words)
print(f"{len(words):,} names, such as {', '.join(words[:5])}; {vocab.size} characters with the end")
print(f"a model that knows nothing has the loss log {vocab.size} = {math.log(vocab.size):.3f}")

# %% [markdown]
# ## What each rung adds
#
# | model | sees | adds |
# |---|---|---|
# | `bigram` | one character | a table: row = this character, entries = the next one |
# | `mlp` | a fixed window | an embedding of each character and a hidden layer |
# | `bow` | the whole beginning | the mean of all embeddings so far, by position |
# | `rnn` | the whole beginning | a state that is updated character by character |
# | `gru` | the whole beginning | gates that decide what the state keeps |
# | `lstm` | the whole beginning | a memory that is only scaled by a gate and added to, so gradients last |
# | `transformer` | the whole beginning | attention: each place chooses where it looks |

# %%
RUNGS = {
    "bigram": {"max_steps": 400, "learning_rate": 0.01},
    "mlp": {"max_steps": 400},
    "bow": {"max_steps": 200},
    "rnn": {"max_steps": 200},
    "gru": {"max_steps": 200},
    "lstm": {"max_steps": 200},
    "transformer": {"max_steps": 200, "n_layer": 2, "n_embd": 32},
}
ladder = {}
for name, flags in RUNGS.items():
    began = time.perf_counter()
    flags = {"learning_rate": 0.002, "chunk_size": 50} | flags
    ladder[name] = jaxmore.fit(words, name, progress=False, **flags)
    seconds = time.perf_counter() - began
    losses = ladder[name].record["losses"]
    shown = "  ".join(f"{split} {loss:.3f}" for split, loss in losses.items())
    print(f"{name:12} {flags['max_steps']} steps  {seconds:5.1f} s  {shown}")

# %% [markdown]
# Each loss is exact: the mean over all characters of the split. The runs are far from their end, and the slow learners
# among the models gain most from more steps.
#
# ## The same in choices
#
# A loss of $\ell$ nats means that the model is as surprised as by a fair choice among $e^\ell$ characters.

# %%
for name, trained in ladder.items():
    loss = trained.record["losses"]["test"]
    print(f"{name:12} {math.exp(loss):5.2f} choices  {'█' * round(4 * math.exp(loss))}")

# %%
assert all(trained.record["losses"]["test"] < math.log(vocab.size) for trained in ladder.values())
assert ladder["mlp"].record["losses"]["test"] < ladder["bigram"].record["losses"]["test"]

# %% [markdown]
# ## Samples of each

# %%
for name, trained in ladder.items():
    print(f"{name:12} {', '.join(jaxmore.sample(trained, 6, seed=1))}")

# %% [markdown]
# ## Inside one of them
#
# A model is an expression, and a notebook shows its layers:

# %%
ladder["gru"].model

# %% [markdown]
# And what a gradient looks like, at every place of the network, for one name. Blue is negative, orange positive.

# %%
x, y = jaxmore.sequences(["emma"], vocab, max(map(len, words)) + 1)
jaxmore.trace(ladder["mlp"].model, ladder["mlp"].params, x, y)

# %% [markdown]
# The columns behind the end of the name have no target, and so no gradient.
#
# Next: `jaxmore train --type gru` in a terminal does the same with a progress bar and files, and
# [Sweep settings](https://jaxmore.github.io/jaxmore/how-to/sweep.html) finds a learning rate.
