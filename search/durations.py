"""Durations as people write them."""

import re
from typing import Annotated, Any

import pydantic

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def parse_duration(value: Any) -> float | None:
    """Return seconds for 600, "90s", "10m", "1h30m"; raise `ValueError` for anything else."""
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * UNITS[unit] for number, unit in parts)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    raise ValueError(f"a duration must look like 90s, 10m or 1h30m, but got {value!r}")


Duration = Annotated[float | None, pydantic.BeforeValidator(parse_duration)]
