"""The optimisers against torch's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmore.training.optimizers import make_optimizer

torch = pytest.importorskip("torch", reason="torch's optimisers are the oracle")

STEPS = 12


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_same_parameters_as_torch(name: str, decay: float, schedule: str) -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        start, gradients = rng.normal(size=(3, 2)), rng.normal(size=(STEPS, 3, 2))
        optimizer = make_optimizer(name, 0.05, decay, schedule, STEPS)
        params = jnp.array(start)
        state = optimizer.init(params)
        theirs = torch.tensor(start, requires_grad=True)
        oracle = {
            "sgd": lambda: torch.optim.SGD([theirs], lr=0.05, weight_decay=decay),
            "adamw": lambda: torch.optim.AdamW(
                [theirs], lr=0.05, betas=(0.9, 0.99), eps=1e-8, weight_decay=decay
            ),
        }[name]()
        for step, gradient in enumerate(gradients):
            updates, state = optimizer.update(jnp.array(gradient), state, params)
            params = optax.apply_updates(params, updates)
            if schedule == "step" and step == STEPS // 2:
                oracle.param_groups[0]["lr"] *= 0.1
            theirs.grad = torch.tensor(gradient)
            oracle.step()
            # optax keeps the schedule's rate in float32's neighbourhood of 0.05
            np.testing.assert_allclose(params, theirs.detach().numpy(), rtol=1e-7)
