"""What every value of a space shares: frozen, strict, JSON-able, with one-line errors."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self, TypeVar

import pydantic

from spaces.errors import AthanorError, InputError, SpaceError

M = TypeVar("M", bound=pydantic.BaseModel)


class Value(pydantic.BaseModel):
    """An immutable, hashable value that refuses unknown keys and round-trips through JSON."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, strings and numbers, equal for equal values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Rebuild a value; `SpaceError` states the first rule that the data break."""
        return validated(cls, data, error=SpaceError)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON: equal values have equal digests."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def validated(
    model: type[M], data: Any, *, error: type[AthanorError] = InputError, where: str = ""
) -> M:
    """Validate `data` against `model`, raising `error` with one line for the first broken rule.

    Args:
        where: what the data are, put before the path of the key ("job file search.yaml").
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as failure:
        first = failure.errors(include_url=False)[0]
        raise error(_line(first, model=model, data=data, where=where)) from None


def nearest(word: str, known: list[str]) -> str:
    """Say which of the known words is closest to `word`, and list them all."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(sorted(known))}"


def _line(failure: Any, *, model: type[pydantic.BaseModel], data: Any, where: str) -> str:
    path = ".".join(str(part) for part in failure["loc"])
    prefix = ": ".join(part for part in (where, path) if part)
    if failure["type"] == "extra_forbidden":
        key = str(failure["loc"][-1])
        known = _known_keys(model, failure["loc"][:-1], data)
        return f"{prefix}: unknown key {key!r}; {nearest(key, known)}"
    if failure["type"] == "missing":
        return f"{prefix}: this key is required"
    message = str(failure["msg"]).removeprefix("Value error, ")
    if failure["type"] != "value_error":
        message = f"{message[:1].lower()}{message[1:]}, but got {failure['input']!r}"
    return f"{prefix}: {message}" if prefix else message


def _known_keys(
    model: type[pydantic.BaseModel], location: tuple[int | str, ...], data: Any
) -> list[str]:
    """Walk from the model along `location` to the nested model that refused a key."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            continue
        current = _model_within(field.annotation) or current
    fields: Mapping[str, Any] = getattr(current, "model_fields", {})
    return list(fields)


def _model_within(annotation: Any) -> type[pydantic.BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_within(inner)
        if found is not None:
            return found
    return None
