"""Checkpoints: weights as safetensors, everything else as JSON that a person can read.

The JSON names the tensors' file and its SHA-256, carries a checksum of itself and is written
last, so a checkpoint exists once its JSON does, and a torn or altered one is noticed and the one
before it used.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from spaces.errors import SpaceError
from spaces.recipe import Candidate
from workers.files import write_atomically
from workers.training_state import TrainingState

KEPT = 2  # newest checkpoints of a training; the older ones are removed


def save_checkpoint(
    folder: Path, state: TrainingState, *, candidate: Candidate, epoch: int
) -> None:
    """Write the checkpoint of an epoch and remove those that are no longer needed."""
    tensors = save_tensors(state.tensors)
    name = f"epoch-{epoch:05d}"
    meta: dict[str, Any] = {
        "epoch": epoch,
        "tensors": f"{name}.safetensors",
        "sha256": hashlib.sha256(tensors).hexdigest(),
        "candidate": candidate.to_json(),
        "numbers": state.numbers,
    }
    write_atomically(folder / f"{name}.safetensors", tensors)
    meta["checksum"] = _checksum(meta)
    write_atomically(folder / f"{name}.json", json.dumps(meta, indent=1).encode())
    remove_older(folder, kept=KEPT)


def remove_older(folder: Path, *, kept: int) -> None:
    """Remove the checkpoints of one holder but for so many of the newest."""
    paths = sorted(folder.glob("epoch-*.json"))
    for old in paths[: max(0, len(paths) - kept)]:
        old.with_suffix(".safetensors").unlink(missing_ok=True)
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[Candidate, TrainingState] | None:
    """Return the newest whole checkpoint below `folder`, whichever fence wrote it."""
    for path in sorted(folder.glob("*/epoch-*.json"), key=_newest_last, reverse=True):
        loaded = _load(path)
        if loaded is not None:
            return loaded
    return None


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint below `folder`, whole or not."""
    return any(folder.glob("*/epoch-*.json"))


def _newest_last(path: Path) -> tuple[str, int]:
    return path.name, fence_of(path.parent)


def fence_of(folder: Path) -> int:
    """Return the fence under which a holder's folder was written."""
    return int(folder.name) if folder.name.isdigit() else 0


def _checksum(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _load(path: Path) -> tuple[Candidate, TrainingState] | None:
    try:
        meta: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(meta, dict) or meta.pop("checksum") != _checksum(meta):
            return None
        content = (path.parent / Path(meta["tensors"]).name).read_bytes()
        if hashlib.sha256(content).hexdigest() != meta["sha256"]:
            return None
        state = TrainingState(tensors=load_tensors(content), numbers=meta["numbers"])
        return Candidate.from_json(meta["candidate"]), state
    except (OSError, ValueError, LookupError, TypeError, SpaceError, SafetensorError):
        return None
