"""What every benchmark shares: rows that are kept as they come, and the machine's description."""

import json
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch


class Results:
    """The rows of a benchmark; with a file they survive an interruption and are not run again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            self.rows = json.loads(path.read_text())["rows"]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """Return the row that has all of these values, if it was measured."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        return None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, with the commit that it was measured at, and write the file."""
        self.rows.append({**row, "commit": commit()})
        if self._path is not None:
            text = json.dumps({"machine": machine(), "rows": self.rows}, indent=1)
            self._path.write_text(text + "\n")


@cache
def commit() -> str | None:
    """Return the commit of the code that runs, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    root = Path(__file__).resolve().parent
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # a copy without its history
        return None
    return found.stdout.strip()


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    pairs = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    flags = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "avx512_bf16": "avx512_bf16" in flags,
        "amx_bf16": "amx_bf16" in flags,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def print_table(
    rows: list[dict[str, Any]], names: tuple[str, ...], *, markdown: bool = False
) -> None:
    """Print rows for people, a column a name; None is a dash."""
    cells = [list(names)] + [[_cell(row.get(name)) for name in names] for row in rows]
    if markdown:
        cells.insert(1, ["---"] * len(names))
        for line in cells:
            print(f"| {' | '.join(line)} |")
        return
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
