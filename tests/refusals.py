"""What a refusal says."""

import pytest

from jaxmore.errors import InputError


def only_line(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message, which must be one line."""
    message = str(error.value)
    assert message
    assert len(message.splitlines()) == 1
    return message
