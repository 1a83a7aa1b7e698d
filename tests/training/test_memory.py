"""A run that cannot fit is refused before anything is allocated."""

import jax
import numpy as np
import pytest

from jaxmore.errors import InputError
from jaxmore.models import bengio, mlp_bn
from jaxmore.training import memory
from jaxmore.training.memory import check_calibration, check_memory
from jaxmore.training.optimizers import make_optimizer

SGD = make_optimizer("sgd", 0.1, 0.0, "constant", 9)


@pytest.mark.parametrize(
    ("n_embd2", "n_examples", "batch_size"),
    [(10**10, 100, 32), (100, 10**13, 32), (100, 100, 10**10)],
)
def test_what_cannot_fit_is_refused_by_shapes_alone(n_embd2, n_examples, batch_size) -> None:
    with pytest.raises(
        InputError, match=r"needs at least [\d,.]+ GB of memory, but there are"
    ) as no:
        check_memory(bengio(27, n_embd2=n_embd2), SGD, n_examples, 3, batch_size)
    assert "\n" not in str(no.value)


def test_the_estimate_is_a_lower_bound_that_counts_the_state(monkeypatch) -> None:
    model = bengio(27)
    size = sum(a.nbytes for a in jax.tree.leaves(model.init(jax.random.key(0))))
    monkeypatch.setattr(memory, "available_memory", lambda: 4 * size)
    with pytest.raises(InputError):
        check_memory(model, SGD, 100, 3, 32)
    monkeypatch.setattr(memory, "available_memory", lambda: 40 * size)
    check_memory(model, SGD, 100, 3, 32)


def test_calibration_counts_distinct_contexts_alone(monkeypatch) -> None:
    X = np.repeat(np.arange(24, dtype=np.int8).reshape(8, 3), 1000, axis=0)
    monkeypatch.setattr(memory, "available_memory", lambda: 8 * 50 * 4)
    check_calibration(mlp_bn(27, n_embd2=50), X)
    check_calibration(bengio(27, n_embd2=51), X)  # it has no statistics
    with pytest.raises(InputError, match="needs at least"):
        check_calibration(mlp_bn(27, n_embd2=51), X)
