"""No test may open a connection to another machine (tests/conftest.py)."""

import socket

import pytest

ELSEWHERE = "192.0.2.1"  # set aside for documentation: nobody answers there


def test_a_connection_elsewhere_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no test may connect"):
        socket.create_connection((ELSEWHERE, 80), timeout=1)
    with socket.socket() as unconnected, pytest.raises(RuntimeError, match=ELSEWHERE):
        unconnected.connect((ELSEWHERE, 80))
