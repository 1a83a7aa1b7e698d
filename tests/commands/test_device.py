"""``--device``: a platform that is there is used, another one is one line."""

import jax
import pytest

from jaxmore.commands.flags import choose_device
from jaxmore.errors import InputError


@pytest.fixture(autouse=True)
def same_platforms() -> object:
    yield
    jax.config.update("jax_platforms", "")


def test_a_platform_that_is_there() -> None:
    choose_device(jax.default_backend())


def test_no_name_is_no_platform() -> None:
    with pytest.raises(InputError, match="must name a platform"):
        choose_device("")


@pytest.mark.parametrize("platform", ["rocm", "abacus", "cuda:7", "cpu,abacus"])
def test_a_platform_that_is_not_there_is_one_line(platform: str) -> None:
    with pytest.raises(
        InputError, match=f"^--device {platform}: JAX finds no such platform here"
    ) as caught:
        choose_device(platform)
    assert "\n" not in str(caught.value)
