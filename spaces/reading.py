"""Every kind of space, and how one is stated: as keys, a file, a network's name or an object."""

from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from spaces.cnn import CnnSpace
from spaces.custom import CustomSpace, load
from spaces.errors import SpaceError
from spaces.scaled import ScaledSpace
from spaces.values import Value, validated
from spaces.zoo import ZOO

SUFFIXES = (".yaml", ".yml")
KINDS = (CnnSpace, ScaledSpace, CustomSpace)


def keys_of(stated: Any) -> Any:
    """Return the keys of a space that was stated in another way; keys stay as they are.

    Raises:
        ValueError: the file, the name or the object is none, or not that of a space.
    """
    if isinstance(stated, dict):
        return stated if "kind" in stated else {"kind": "cnn", **stated}
    if not isinstance(stated, str):
        return stated
    try:
        if stated.endswith(SUFFIXES):
            return keys_of(_keys_of_file(Path(stated)))
        if ":" in stated:
            return _of_object(stated)
    except SpaceError as failure:
        raise ValueError(str(failure)) from None
    if stated not in ZOO:
        raise ValueError(
            "a space must be keys, a YAML file, package.module:Object or one of "
            f"{', '.join(ZOO)}, but got {stated!r}"
        )
    return {"kind": "scaled", "base": stated}


Space = Annotated[
    Annotated[CnnSpace | ScaledSpace | CustomSpace, pydantic.Field(discriminator="kind")],
    pydantic.BeforeValidator(keys_of),
]


class _Stated(Value):
    space: Space


def read_space(stated: Any) -> CnnSpace | ScaledSpace | CustomSpace:
    """Return a space by its keys, file, name or object; `SpaceError` says what is wrong."""
    return validated(_Stated, {"space": stated}, error=SpaceError).space


def _keys_of_file(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as failure:
        raise SpaceError(f"a space file must be readable: {path}: {failure}") from None
    except (yaml.YAMLError, ValueError) as failure:
        line = str(failure).replace("\n", " ")
        raise SpaceError(f"a space file must be YAML: {path}: {line}") from None
    if not isinstance(data, dict):
        raise SpaceError(f"a space file must hold keys and values: {path} holds {data!r}")
    return data


def _of_object(reference: str) -> Any:
    """Return a value that the object is, or a space that asks the object."""
    found = load(reference)
    if isinstance(found, KINDS):
        return found
    for method in ("suggest", "prior"):
        if not callable(getattr(found, method, None)):
            raise SpaceError(f"{reference}: a space must have a method {method}, but has none")
    return CustomSpace.from_json({"object": reference})
