"""The token that opens the dashboard, and the cookie that a browser gets for it."""

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from spaces.errors import InputError

VARIABLE = "ATHANOR_DASHBOARD_TOKEN"
MIN_LENGTH = 16  # characters of a token that somebody chose: nothing limits how often one is tried
SESSION_SECONDS = 7 * 24 * 3600.0  # after which a browser has to log in again


class Token:
    """A secret; it compares in a time that tells nothing of it, and never prints itself."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._key = hashlib.sha256(text.encode()).digest()

    def matches(self, given: str) -> bool:
        """Whether this is the token."""
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        return hmac.compare_digest(digest, self._key)

    def link(self, address: str) -> str:
        """Return a link that logs in: browsers keep what follows # to themselves."""
        return f"{address}/#{self._text}"

    def cookie(self) -> str:
        """Return the value of a cookie that lets a browser in until it expires."""
        until = str(int(time.time() + SESSION_SECONDS))
        return f"{until}.{self._signature(until)}"

    def accepts(self, cookie: str) -> bool:
        """Whether a cookie was made with this token and has not expired."""
        until, _, signature = cookie.partition(".")
        signed = hmac.compare_digest(signature.encode(), self._signature(until).encode())
        return signed and int(until) > time.time()

    def _signature(self, until: str) -> str:
        return hmac.new(self._key, f"session until {until}".encode(), "sha256").hexdigest()


def given_token(file: Path | None) -> Token | None:
    """Return the token that a file or the environment gives, the file's first.

    Raises:
        InputError: the file cannot be read, or the token is too short to withstand guessing.
    """
    if file is not None:
        try:
            text, source = file.read_text(encoding="utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as failure:
            raise InputError(f"--token-file must be a readable text file: {failure}") from None
    else:
        text, source = os.environ.get(VARIABLE, "").strip(), VARIABLE
        if not text:
            return None
    if len(text) < MIN_LENGTH:
        raise InputError(
            f"a token must have at least {MIN_LENGTH} characters, but that of {source} has "
            f"{len(text)}"
        )
    return Token(text)


def new_token() -> Token:
    """Return a token that nobody can guess."""
    return Token(secrets.token_urlsafe(32))
