"""What a person reads when something is refused."""

import pytest


def one_line(refusal: pytest.ExceptionInfo[Exception]) -> str:
    """Return the message, which must be one line."""
    message = str(refusal.value)
    assert "\n" not in message
    return message
