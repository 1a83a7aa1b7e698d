"""One file per contestant: ``prepare(task)`` returns ``run()``, which trains a chunk.

``run`` gathers the chunk's examples, does ``task.n_steps`` steps from where the last run stopped,
and returns their losses as a NumPy array on the host. Gathering the whole chunk at once is what
jaxmore does; every peer does it too, since it is faster than gathering step by step.
"""
