"""What every value of a space shares: frozen, strict, JSON-able, with one-line errors."""

import difflib
import hashlib
import json
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
    location = failure["loc"]
    unknown = failure["type"] == "extra_forbidden"
    models, path = _walk(model, location[:-1] if unknown else location)
    if unknown:
        key = str(location[-1])
        known = sorted({name for each in models for name in each.model_fields})
        path.append(key)
    prefix = ": ".join(part for part in (where, ".".join(path)) if part)
    if unknown:
        return f"{prefix}: unknown key {key!r}; {nearest(key, known)}"
    if failure["type"] == "missing":
        return f"{prefix}: this key is required"
    message = str(failure["msg"]).removeprefix("Value error, ")
    if failure["type"] != "value_error":
        message = f"{message[:1].lower()}{message[1:]}, but got {failure['input']!r}"
    return f"{prefix}: {message}" if prefix else message


def _walk(
    model: type[pydantic.BaseModel], location: tuple[int | str, ...]
) -> tuple[list[type[pydantic.BaseModel]], list[str]]:
    """Follow `location` from the model; return where it leads, and the keys on the way.

    Where several kinds of model are possible, pydantic puts the kind into the location: it is no
    key.
    """
    current, path = [model], []
    for part in location:
        tagged = [each for each in current if _kind(each) == part]
        if tagged and len(current) > 1:
            current = tagged
            continue
        path.append(str(part))
        fields = [each.model_fields[part] for each in current if part in each.model_fields]
        if fields:
            current = _models_within(fields[0].annotation) or current
    return current, path


def _kind(model: type[pydantic.BaseModel]) -> Any:
    field = model.model_fields.get("kind")
    return None if field is None else field.default


def _models_within(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    inner = (_models_within(each) for each in getattr(annotation, "__args__", ()))
    return [model for models in inner for model in models]
