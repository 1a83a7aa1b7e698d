"""What a run trains by where no flag says it, and which flags cannot be."""

import pytest

from jaxmore.errors import InputError
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.preparation import resolve_settings


def test_the_notebooks_training_and_makemores() -> None:
    notebooks, makemores = (
        resolve_settings(TrainConfig(), reads) for reads in ("windows", "sequences")
    )
    assert notebooks[:6] == (200_000, 32, "sgd", 0.1, 0.0, "step")
    assert makemores[:6] == (20_000, 32, "adamw", 5e-4, 0.01, "constant")
    assert (notebooks.seed, makemores.seed) == (2147483647, 3407)
    asked = TrainConfig(optimizer="adamw", max_steps=7, seed=0, weight_decay=0.0, batch_size=3)
    assert resolve_settings(asked, "windows")[:6] == (7, 3, "adamw", 5e-4, 0.0, "step")
    assert resolve_settings(asked, "windows").seed == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"warmup_steps": 9, "max_steps": 9}, "--warmup-steps 9 must be below --max-steps 9"),
        ({"warmup_steps": -1}, "--warmup-steps must be at least 0"),
        ({"clip_norm": 0.0}, "--clip-norm must be positive"),
        ({"clip_norm": float("nan")}, "--clip-norm must be positive"),
        ({"eval_every": -5}, "--eval-every must be at least 0"),
        ({"sample_every": -5}, "--sample-every must be at least 0"),
        ({"patience": 0, "eval_every": 1}, "--patience must be at least 1"),
        ({"patience": 3}, "--patience counts evaluations"),
        ({"seed": 2**32}, "--seed must lie in"),
    ],
)
def test_what_cannot_be_is_named(flags, message) -> None:
    with pytest.raises(InputError, match=message):
        resolve_settings(TrainConfig(**flags), "windows")
