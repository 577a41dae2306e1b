"""The model folder: weights as safetensors, and `model.json` that says what they are.

model.json                      architectures, ensemble weights, classes, normalisation,
                                library versions, scores and how they were measured, hashes
trial-7-fold-0.safetensors …    weights and buffers of every network, float32

`workers/export.py` writes graphs, a script, a model card and samples beside them.
"""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from search.calibration import at_temperature
from search.ensemble import member_name
from search.stacking import Stack
from spaces.architecture import Architecture
from spaces.errors import ModelFolderError
from spaces.network import Network, build_network
from spaces.recipe import Recipe
from spaces.values import Value, validated
from workers.batches import Normalisation
from workers.device import DevicePlan
from workers.evaluation import predict
from workers.targets import TargetScale

FORMAT = 2
MANIFEST = "model.json"
AnyName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
FileName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$")]


class NetworkEntry(Value):
    """One trained network of the folder.

    Attributes:
        mean, std: of each channel in units of pixel values 0..255, from its training rows.
        weight: its share of the ensemble's probabilities; with a stack, of its trial's.
        scale: of the numbers that it predicts; None: it predicts classes.
        report: how it was trained and, if it left rows out, what it scored on these.
    """

    file: FileName
    sha256: str
    trial: int
    fold: int
    weight: Annotated[float, pydantic.Field(gt=0.0, le=1.0)]
    architecture: Architecture
    recipe: Recipe
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: TargetScale | None = None
    report: dict[str, Any]


class Manifest(Value):
    """What `model.json` holds.

    Attributes:
        files: SHA-256 (hex) of every other file that was in the folder when it was written.
        class_names: none where numbers are predicted.
        stack: what combines the trials, each the mean of its networks; None: the weights do.
        temperature: of the ensemble's probabilities (`search.calibration`).
    """

    format: int = FORMAT
    files: dict[AnyName, str] = pydantic.Field(default_factory=dict)
    job: str
    data: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    networks: tuple[NetworkEntry, ...]
    stack: Stack | None = None
    temperature: Annotated[float, pydantic.Field(gt=0.0)] = 1.0
    scores: dict[str, Any]
    protocol: dict[str, Any]
    versions: dict[str, str]

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        names = tuple(sorted({member_name(entry.trial) for entry in self.networks}))
        if self.stack is not None and tuple(sorted(self.stack.members)) != names:
            raise ValueError(f"a stack must have the members {names}, but has {self.stack.members}")
        if self.stack is not None and len(self.stack.biases) != self.outputs:
            raise ValueError(
                f"a stack must have {self.outputs} biases, but has {len(self.stack.biases)}"
            )
        return self

    @property
    def outputs(self) -> int:
        """How many outputs each network has: one a class, or one number."""
        return len(self.class_names) or 1


def library_versions() -> dict[str, str]:
    """Return the versions of what computed a model."""
    names = ("athanor-nas", "torch", "optuna", "numpy", "safetensors")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `model.json` with the hashes of all files beside it, which are all written by now.

    The folder is not published yet, so this need not be atomic.
    """
    others = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    changes = {"format": FORMAT, "files": {path.name: sha256_of(path) for path in others}}
    text = json.dumps(manifest.model_copy(update=changes).to_json(), indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, manifest: Manifest) -> None:
    """Make sure that every file of the folder is as it was written; files beside them are let be.

    Raises:
        ModelFolderError: one is missing or was altered.
    """
    for name, wanted in manifest.files.items():
        path = folder / name
        try:
            found = sha256_of(path)
        except OSError as failure:
            raise ModelFolderError(f"{path} must be readable: {failure.strerror}") from None
        check_digest(path, wanted=wanted, found=found)


def check_digest(path: Path, *, wanted: str, found: str) -> None:
    """Raise `ModelFolderError` unless a file has the SHA-256 that `model.json` says."""
    if found != wanted:
        raise ModelFolderError(f"{path} must have SHA-256 {wanted[:12]}…, but has {found[:12]}…")


def read_manifest(folder: Path) -> Manifest:
    """Read `model.json`; `ModelFolderError` says what is missing or wrong."""
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise ModelFolderError(f"a model folder must hold {MANIFEST}: {path}: {reason}") from None
    except ValueError as failure:
        raise ModelFolderError(f"{path} must be JSON: {failure}") from None
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise ModelFolderError(f"{path} must have format {FORMAT}, but has {data.get('format')!r}")
    return validated(Manifest, data, error=ModelFolderError, where=str(path))


@dataclass(frozen=True)
class Model:
    """An ensemble that was loaded from its folder."""

    manifest: Manifest
    networks: tuple[Network, ...]
    plan: DevicePlan

    def predict_one(self, index: int, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the probabilities (rows, classes) of one network, or its numbers (rows, 1)."""
        entry = self.manifest.networks[index]
        return predict(
            self.networks[index],
            images,
            normalisation=Normalisation(mean=entry.mean, std=entry.std),
            scale=entry.scale,
            plan=self.plan,
        )

    def predict(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the ensemble's probabilities (rows, classes), or its numbers (rows, 1).

        Args:
            images: uint8 of (rows, height, width, channels), sized as the model expects.

        Raises:
            ModelFolderError: the images have another size or number of channels.
        """
        expected = self.manifest.image_shape
        if images.ndim != 4 or tuple(images.shape[1:]) != expected or images.dtype != np.uint8:
            raise ModelFolderError(
                f"images must be uint8 of (rows, {', '.join(map(str, expected))}), "
                f"but are {images.dtype} of {images.shape}"
            )
        return self.combined([self.predict_one(n, images) for n in range(len(self.networks))])

    def combined(self, predictions: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return what the ensemble says where each network says (rows, classes or 1)."""
        together, stack = self._weighted(predictions), self.manifest.stack
        total = sum(together.values()) if stack is None else stack.combine(self._means(together))
        total = np.asarray(total)
        if not self.manifest.class_names:
            return total
        return at_temperature(total, self.manifest.temperature)

    def _weighted(self, predictions: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Return the weighted sum of each trial's networks (rows, classes or 1), by its name."""
        sums: dict[str, NDArray[np.float64]] = {}
        for entry, predicted in zip(self.manifest.networks, predictions, strict=True):
            more = entry.weight * predicted.astype(np.float64)
            name = member_name(entry.trial)
            sums[name] = sums[name] + more if name in sums else more
        return sums

    def _means(self, sums: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        weights = dict.fromkeys(sums, 0.0)
        for entry in self.manifest.networks:
            weights[member_name(entry.trial)] += entry.weight
        return {name: total / weights[name] for name, total in sums.items()}


def load_model(folder: Path) -> Model:
    """Load a model folder, on the CPU in float32.

    Raises:
        ModelFolderError: a file is missing, was altered, or does not fit `model.json`.
    """
    manifest = read_manifest(folder)
    networks = tuple(_load_network(folder, manifest, entry) for entry in manifest.networks)
    return Model(manifest=manifest, networks=networks, plan=DevicePlan())


def _load_network(folder: Path, manifest: Manifest, entry: NetworkEntry) -> Network:
    path = folder / entry.file
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise ModelFolderError(f"{path} must be readable: {failure.strerror}") from None
    check_digest(path, wanted=entry.sha256, found=hashlib.sha256(content).hexdigest())
    network = build_network(
        entry.architecture,
        channels=manifest.image_shape[2],
        classes=manifest.outputs,
    )
    try:
        network.load_state_dict(load_tensors(content))
    except (RuntimeError, SafetensorError) as failure:
        reason = str(failure).replace("\n", " ")
        raise ModelFolderError(f"{path} does not fit its architecture: {reason}") from None
    return network.to(memory_format=torch.channels_last).eval()
