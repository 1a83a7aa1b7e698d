"""A fresh process up to its first step of the seeds' network; prints the loss. See ``startup``."""

from jaxmore.compilation_cache import use_compilation_cache

if __name__ == "__main__":
    use_compilation_cache()  # before JAX is imported, as the commands do

    from benchmarks.contestants.jaxmore_scan import prepare
    from benchmarks.data import corpus
    from benchmarks.task import make_task

    X, Y = corpus().windows(3)
    task = make_task("mlp-bn", {}, corpus().vocab.size, X, Y, batch_size=32, n_steps=1)
    print(prepare(task)()[0])
