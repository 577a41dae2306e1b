"""Ctrl-C and SIGTERM are heard once, acted on where the loop looks, and never lost."""

import signal

import pytest

from athanor.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_the_loop(number: signal.Signals) -> None:
    with Interruption() as interruption:
        interruption.check()
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


def test_a_signal_inside_a_finalizer_is_not_lost() -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)  # an exception from here would only be printed

    with Interruption() as interruption:
        Finalized()
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


def test_a_second_signal_does_not_wait() -> None:
    with Interruption():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_have_their_old_meaning_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
