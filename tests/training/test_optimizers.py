"""The optimisers against torch's own."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmore.training.optimizers import make_optimizer

torch = pytest.importorskip("torch", reason="torch's optimisers are the oracle")

STEPS = 12


def share_of_rate(schedule: str, step: int, warmup: int) -> float:
    """nanoGPT's ``get_lr``, and the notebooks' drop half way."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "cosine":
        ratio = (step - warmup) / (STEPS - warmup)
        return 0.5 * (1 + math.cos(math.pi * ratio))
    if schedule == "linear":
        return 1 - (step - warmup) / (STEPS - warmup)
    return 0.1 if schedule == "step" and step >= STEPS // 2 else 1.0


@pytest.mark.parametrize(
    ("name", "schedule", "line"),
    [
        ("adamW", "step", "there is no optimiser 'adamW': sgd"),
        ("sgd", "cosin", "there is no schedule 'cosin': constant"),
    ],
)
def test_an_unknown_name_is_refused(name: str, schedule: str, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        make_optimizer(name, 0.1, 0.0, schedule, STEPS)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    ("schedule", "warmup", "clip"),
    [
        ("constant", 0, None),
        ("step", 0, None),
        ("cosine", 0, 0.5),
        ("step", 3, 9.0),
        ("cosine", 4, None),
        ("linear", 0, None),
        ("linear", 3, None),
    ],
)
@pytest.mark.quick(
    "constant-0-None-adam-0.0",
    "step-3-9.0-sgd-0.1",
    "cosine-0-0.5-adamw-0.1",
    "linear-3-None-adam-0.1",
)
def test_same_parameters_as_torch(name, decay, schedule, warmup, clip) -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        start, gradients = rng.normal(size=(3, 2)), rng.normal(size=(STEPS, 3, 2))
        optimizer = make_optimizer(
            name, 0.05, decay, schedule, STEPS, warmup_steps=warmup, clip_norm=clip
        )
        params = jnp.array(start)
        state = optimizer.init(params)
        theirs = torch.tensor(start, requires_grad=True)
        oracle = {
            "sgd": lambda: torch.optim.SGD([theirs], lr=0.05, weight_decay=decay),
            "adam": lambda: torch.optim.Adam(
                [theirs], lr=0.05, betas=(0.85, 0.99), eps=1e-8, weight_decay=decay
            ),
            "adamw": lambda: torch.optim.AdamW(
                [theirs], lr=0.05, betas=(0.9, 0.99), eps=1e-8, weight_decay=decay
            ),
        }[name]()
        for step, gradient in enumerate(gradients):
            updates, state = optimizer.update(jnp.array(gradient), state, params)
            params = optax.apply_updates(params, updates)
            oracle.param_groups[0]["lr"] = 0.05 * share_of_rate(schedule, step, warmup)
            theirs.grad = torch.tensor(gradient)
            if clip is not None:
                torch.nn.utils.clip_grad_norm_([theirs], clip)
            oracle.step()
            # optax keeps the schedule's rate in float32's neighbourhood of 0.05; torch divides by
            # the norm and 1e-6
            rtol = 1e-7 if clip is None else 3e-6
            np.testing.assert_allclose(params, theirs.detach().numpy(), rtol=rtol, atol=rtol)


def test_what_is_clipped_is_the_whole_gradient() -> None:
    """Its direction stays; its length over all parameters becomes the bound, if it was more."""
    optimizer = make_optimizer("sgd", 1.0, 0.0, "constant", 9, clip_norm=2.0)
    for length in (10.0, 1.0):
        gradient = {"a": jnp.array([0.6 * length]), "b": jnp.array([[-0.8 * length]])}
        updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
        expected = min(length, 2.0)
        np.testing.assert_allclose(updates["a"], [-0.6 * expected], rtol=1e-6)
        np.testing.assert_allclose(updates["b"], [[0.8 * expected]], rtol=1e-6)


def test_muon_turns_a_matrix_by_an_orthogonal_step_and_decays_it() -> None:
    """Five Newton-Schulz steps bring every singular value near 1; Nadam's first is the sign."""
    rng = np.random.default_rng(0)
    params = {"matrix": jnp.ones((6, 4)), "vector": jnp.ones(3)}
    gradient = {"matrix": jnp.array(rng.normal(size=(6, 4))), "vector": jnp.array([-5.0, 0.1, 2.0])}
    rate, decay = 0.01, 0.5
    optimizer = make_optimizer("muon", rate, decay, "constant", 9)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    singular = np.linalg.svd(updates["matrix"] / rate + decay * params["matrix"], compute_uv=False)
    assert (singular > 0.6).all() and (singular < 1.3).all()
    nesterov = 0.9 * (1 - 0.9) / (1 - 0.9**2) + 1  # the next step's share of the momentum, ours
    expected = -rate * nesterov * np.sign(gradient["vector"])
    np.testing.assert_allclose(updates["vector"], expected, rtol=1e-5)
