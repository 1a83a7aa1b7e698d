"""How exact every gradient is in float32, beside ``jax.grad`` and torch: docs/exactness.md."""
