"""What tests/training/test_mesh.py looks at, from a process with eight simulated devices. JSON."""

import hashlib
import io
import json
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxmore
from jaxmore import cli
from jaxmore.backprop import loss_and_grad
from jaxmore.layers import by_path
from jaxmore.models import mlp_bn, transformer
from jaxmore.training import parts
from jaxmore.training.mesh import Layout

jax.config.update("jax_num_cpu_devices", 8)
NAMES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
COLLECTIVE = rf" ({'|'.join(NAMES)})(?:-start)?\("
MODELS = {
    "mlp-bn": mlp_bn(7, block_size=3, n_embd=3, n_embd2=5),
    "transformer": transformer(7, block_size=6, n_layer=1, n_head=2, n_embd=4),
}


def example(name: str):
    rng = np.random.default_rng(1)
    # Parts of one row and of two.
    x = rng.integers(0, 7, (8, 3) if name == "mlp-bn" else (16, 6))
    y = rng.integers(-1, 7, 8 if name == "mlp-bn" else (16, 6))
    params = MODELS[name].init(jax.random.key(0))
    return params, jnp.array(x), jnp.array(y)


def measure(name: str, layout: Layout):
    """The digest of loss and gradients, their distance from one device's, the collectives."""
    model, arrays = MODELS[name], layout.place(example(name))
    compiled = jax.jit(layout.__call__, static_argnums=0).lower(model, *arrays).compile()
    result = compiled(*arrays)
    loss, grads = jax.jit(loss_and_grad, static_argnums=0)(model, *example(name))
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads))
    found = by_path({"loss": result[0], "grads": result[1]})
    expected = by_path({"loss": loss, "grads": grads})
    off = max(float(np.abs(found[k] - np.asarray(expected[k])).max()) for k in expected) / scale
    digest = hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in found.values()))
    collectives = re.findall(COLLECTIVE, compiled.as_text())
    return {"bits": digest.hexdigest(), "off": off, "collectives": collectives}


def trained(folder: Path, **flags) -> str:
    jaxmore.fit(Path("words.txt"), work_dir=folder, batch_size=16, chunk_size=3, **flags)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def quick() -> dict:
    report = {f"mlp-bn tree {data}": measure("mlp-bn", Layout(data)) for data in (1, 8)}
    report["mlp-bn plain 4"] = measure("mlp-bn", Layout(4, deterministic=False))
    trained(Path("resumed"), mesh="data=8", max_steps=3, schedule="constant")
    more = {"max_steps": 6, "schedule": "constant"}
    report["resumed"] = trained(Path("resumed"), mesh="data=1", resume=True, **more)
    report["whole"] = trained(Path("whole"), mesh="data=8", **more)
    return report


def thorough() -> dict:
    report = {}
    for name in MODELS:
        for data in (1, 2, 4, 8):
            report[f"{name} tree {data}"] = measure(name, Layout(data))
    report["transformer plain 4"] = measure("transformer", Layout(4, deterministic=False))
    # Mutants of the collectives: each must move the gradient.
    whole, gather = parts.sum_parts, jax.lax.all_gather
    report["mutants"] = mutants = {}
    parts.sum_parts = lambda tree: jax.tree.map(parts.tree_sum, tree)  # each device its own
    mutants["statistics of the local batch"] = measure("mlp-bn", Layout(2))["off"]
    parts.sum_parts = whole
    jax.lax.all_gather = lambda a, axis: gather(a, axis).at[1:].set(0)
    mutants["a dropped sum"] = measure("transformer", Layout(2))["off"]
    jax.lax.all_gather = lambda a, axis: gather(a, axis) / jax.lax.axis_size(axis)
    mutants["a mean taken twice"] = measure("mlp-bn", Layout(2))["off"]
    jax.lax.all_gather = gather
    return report


def main() -> None:
    which, *refused = sys.argv[1:]
    with redirect_stdout(sys.stderr):
        report = quick() if which == "quick" else thorough()
        report["refused"] = {flags: refusal(flags) for flags in refused}
    print(json.dumps(report))


def refusal(flags: str) -> list:
    with redirect_stderr(io.StringIO()) as said:
        try:
            cli.main(["train", "-i", "words.txt", "-o", "refused", "-b", "16", *flags.split()])
        except SystemExit as stop:
            return [stop.code, said.getvalue()]
    return [0, said.getvalue()]


main()
