"""A graceful stop, in processes of their own."""

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import hashlib, time
from jaxmore.runs import signals
signals.GRACE = 0.3
with signals.GracefulStop(lambda: "saved as a last resort") as stop:
    print("ready", flush=True)
    while stop.number is None or {stubborn}:
        {busy}
    raise SystemExit(100 + stop.number)
"""
SLEEP = "time.sleep(0.01)"
HASH = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # no handler runs before it ends


def start(*, stubborn: bool, busy: str) -> subprocess.Popen[str]:
    code = SCRIPT.format(stubborn=stubborn, busy=busy)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(number: signal.Signals) -> None:
    process = start(stubborn=False, busy=SLEEP)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 100 + number
    assert "interrupt again to stop at once" in err


@pytest.mark.parametrize("busy", [SLEEP, HASH])
def test_a_long_chunk_is_not_waited_for(busy: str) -> None:
    process = start(stubborn=True, busy=busy)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert err.endswith("jaxmore: saved as a last resort\n")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("failure", ["reader", "save"])
def test_it_ends_even_if_nobody_listens_or_the_save_fails(failure: str) -> None:
    code = SCRIPT.replace('lambda: "saved as a last resort"', "lambda: 1 / 0")
    code = code.format(stubborn=True, busy=SLEEP)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        if failure == "reader":
            process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143


def test_the_second_signal_stops_at_once() -> None:
    process = start(stubborn=True, busy=SLEEP)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "last resort" not in err


def test_afterwards_everything_is_as_before() -> None:
    from jaxmore.runs.signals import GracefulStop

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with GracefulStop(lambda: "") as stop:
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert stop.number is None
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
