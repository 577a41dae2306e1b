"""The reference of a job file's keys, written from the models that validate them.

python -m athanor.job_reference > docs/job.md
"""

import inspect
import json
import re
from typing import Any

from search.job_spec import JobSpec
from search.sources import ImageOptions
from spaces.cnn import CnnSpace
from spaces.recipe_space import RecipeSpace
from spaces.scaled import ScaledSpace
from spaces.values import Value

HEAD = """\
# The keys of a job file

Written by `python -m athanor.job_reference`; a test holds it to the code. A job file is YAML:

```yaml
{example}```

`athanor search FILE` and `athanor submit FILE` take it, and their options replace its keys. Every
key but `data` has a default; `null` is what stands here as *none*. A key that is not known is
refused, with the nearest known one. Durations are seconds, or like `90s`, `10m`, `1h30m`.
"""
EXAMPLE = """\
data: pets/
budget: 30m
minimize: latency
space:
  stages: [2, 4]
  blocks: [plain, residual, inverted]
  recipe:
    label_smoothing: [0.0, 0.3]
"""
CHOICES = "A list holds choices, of which each trial takes one; a single choice is no parameter."
KINDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true, false",
}
SECTIONS: tuple[tuple[str, str, type[Value]], ...] = (
    ("Keys", "", JobSpec),
    ("`space`", f"With `kind: cnn`, the default. {CHOICES}", CnnSpace),
    ("`space` around a network", "With `kind: scaled`, or its name alone.", ScaledSpace),
    ("`space.recipe`", "Ranges are (low, high).", RecipeSpace),
)


def job_reference() -> str:
    """Return the page in Markdown."""
    parts = [HEAD.format(example=EXAMPLE)]
    for title, said, model in SECTIONS:
        parts.append(f"## {title}\n" + (f"\n{said}\n" if said else ""))
        parts.append(_table(model))
    return "\n".join(parts)


def meanings(model: type[Value]) -> dict[str, str]:
    """Return what a model's docstring says of its attributes, and of those that it inherits."""
    found: dict[str, str] = {}
    for each in (ImageOptions, JobSpec) if model is JobSpec else (model,):
        text = inspect.getdoc(each) or ""
        _, _, listed = text.partition("Attributes:\n")
        for line in re.sub(r"\n {8,}", " ", listed).splitlines():
            names, colon, meaning = line.strip().partition(": ")
            if colon:
                meaning = meaning.replace("None:", "*none*:").replace(
                    "None stands", "*none* stands"
                )
                found |= dict.fromkeys(names.split(", "), meaning)
    return found


def _table(model: type[Value]) -> str:
    schema = model.model_json_schema()
    told = meanings(model)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    inherited = ImageOptions.model_fields if model is JobSpec else {}
    names = sorted(schema["properties"], key=lambda name: name in inherited)  # own ones first
    for name in names:
        if name == "kind":
            continue
        described = schema["properties"][name]
        field = model.model_fields[name]
        default = "required" if field.is_required() else _default(field.default)
        kind = _type(described, schema.get("$defs", {}))
        rows.append(f"| `{name}` | {kind} | {default} | {told.get(name, '')} |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if value is None:
        return "*none*"
    if isinstance(value, Value):
        return "as below"
    return f"`{json.dumps(value)}`"


def _type(described: dict[str, Any], known: dict[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "anyOf" in described:
        kinds = [_type(each, known) for each in described["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in described:
        return "keys"
    if "enum" in described:
        return ", ".join(f"`{json.dumps(each)}`".replace('"', "") for each in described["enum"])
    if "const" in described:
        return f"`{described['const']}`"
    if described.get("type") == "array":
        if "prefixItems" in described:
            return " and ".join(_type(each, known) for each in described["prefixItems"])
        return f"list: {_type(described.get('items', {}), known)}"
    names = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true, false",
    }
    kind = names.get(described.get("type", ""), "keys")
    return kind + _bounds(described)


def _bounds(described: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    told = [f"{sign} {described[name]:,}" for name, sign in signs.items() if name in described]
    return f" {' and '.join(told)}" if told else ""


if __name__ == "__main__":
    print(job_reference(), end="")
