"""Runs the first step of the seeds' network and prints its loss. See ``startup``."""

from jaxmore.runs.compilation_cache import use_compilation_cache

if __name__ == "__main__":
    use_compilation_cache()  # before JAX is imported, as the commands do

    import jax
    import jax.numpy as jnp

    from benchmarks.data import corpus
    from jaxmore.models import mlp_bn
    from jaxmore.training.loop import TrainState, fresh_params, train_chunk
    from jaxmore.training.optimizers import make_optimizer

    model = mlp_bn(corpus().vocab.size)
    optimizer = make_optimizer("sgd", 0.1, 0.0, "step", max_steps=200_000)
    init_key, batch_key = jax.random.split(jax.random.key(2147483647))
    params = fresh_params(model, init_key)
    _, losses, *_ = train_chunk(
        model,
        optimizer,
        TrainState(params, optimizer.init(params)),
        *map(jnp.array, corpus().windows(3)),
        batch_key,
        jnp.asarray(0),
        batch_size=32,
        n_steps=1,
    )
    print(losses[0])
