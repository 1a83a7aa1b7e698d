"""Train the notebooks' network in a loop of your own: `python examples/train.py [names.txt]`."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jaxmore

STEPS, BATCH_SIZE, BLOCK_SIZE = 2_000, 64, 3

path = Path(sys.argv[1]) if len(sys.argv) > 1 else jaxmore.corpus_path()
splits = jaxmore.split_words(jaxmore.read_words(path))
vocab = jaxmore.Vocabulary.from_words(word for split in splits for word in split)
train, dev = (jaxmore.context_windows(w, vocab, BLOCK_SIZE) for w in (splits.train, splits.dev))
X, Y = map(jnp.array, train)

model = jaxmore.mlp_bn(vocab.size, block_size=BLOCK_SIZE)
optimizer = optax.nadam(optax.warmup_cosine_decay_schedule(0.0, 0.01, 100, STEPS))
params = model.init(jax.random.key(0))
opt_state = optimizer.init(params)


@jax.jit
def step(params, opt_state, key):
    batch = jax.random.randint(key, (BATCH_SIZE,), 0, len(X))
    loss, grads = jaxmore.loss_and_grad(model, params, X[batch], Y[batch])  # no autodiff
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


for i, key in enumerate(jax.random.split(jax.random.key(1), STEPS), start=1):
    params, opt_state, loss = step(params, opt_state, key)
    if i % 500 == 0:
        print(f"step {i:,}: loss {loss:.4f}")

stats = jaxmore.calibrate(model, params, train[0])
print(f"dev {jaxmore.mean_loss(model, params, stats, *dev):.4f}")
