"""Write a folder that runs anywhere: networks, graphs, a script, a model card; verified first.

model.json, trial-*.safetensors   as `workers/model_folder.py` says
model.onnx, model-int8.onnx       uint8 images in, probabilities (or numbers) out
model.pt2                         the same by torch.export
predict.py                        predicts without Athanor (`workers/standalone.py`)
samples.npz                       validation images, and what the networks say of them
verification.json                 how far the graphs are from the networks, latency, memory, size
README.md                         the model card
"""

import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.folds import JUDGING_FOLD, strata, stratified_subset
from search.machine import usable_cores
from spaces.architecture import VIEW_COUNTS
from spaces.complexity import measure_complexity
from spaces.limits import Complexity
from workers import graphs, standalone
from workers.comparison import CLEAN, compare_all, eager_answer, unit_of
from workers.model_card import model_card
from workers.model_choice import JobToExport, write_networks
from workers.model_folder import Manifest, Model, load_model, read_manifest, write_manifest
from workers.samples import Samples
from workers.standalone import INT8, ONNX, PROGRAM

FORMATS = {"safetensors": None, "torch-export": PROGRAM, "onnx": ONNX, "onnx-int8": INT8}
DEFAULT_FORMATS = ("safetensors", "onnx")
SCRIPT, CARD, VERIFICATION = "predict.py", "README.md", "verification.json"
VALIDATION_ROWS = 500  # that graphs are compared on
INT8_ROWS = 2000  # of fewer, half a point of accuracy could not be told from luck
ARM_SECONDS = 30.0  # that predicting them may take, about; of fewer rows then
FEWEST_ROWS = 100
PACE_ROWS = 8  # predicted to know how long others will take
CALIBRATION_ROWS = 256  # training images that show how large activations get


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a folder shall hold.

    Attributes:
        model: ensemble, best, distilled, or the number of a trial.
        formats: keys of `FORMATS`; safetensors are always there, as all else is compared with them.
        licence: for the model card.
        samples: whether some validation images go with the model.
    """

    model: str
    formats: tuple[str, ...]
    licence: str | None = None
    samples: bool = True

    @property
    def graphs(self) -> list[str]:
        """The files with graphs, in the order in which they are written."""
        names = [FORMATS[name] for name in FORMATS if name in self.formats]
        return [name for name in names if name is not None]


def write_export(
    source: JobToExport, wanted: Wanted, folder: Path, *, tell: Callable[[str], None]
) -> None:
    """Fill an empty folder, which its caller publishes if nothing is raised.

    Args:
        tell: called with what is being done.

    Raises:
        JobError: there are no such networks.
        JobFailed: a graph predicts otherwise than the networks; the message tells by how much.
    """
    write_manifest(folder, write_networks(source, wanted.model, folder))
    manifest = read_manifest(folder)
    model = load_model(folder)
    _write_graphs(source, model, wanted.graphs, folder, tell=tell)
    rows = _judged_rows(source, model, INT8_ROWS if INT8 in wanted.graphs else VALIDATION_ROWS)
    samples, eager = _judged(source, rows, folder, tell=tell)
    found = compare_all(
        folder,
        samples,
        files=wanted.graphs,
        unit=unit_of(manifest),
        tell=tell,
    )
    verification = _verification(samples, {"safetensors": eager, **found})
    if wanted.samples:
        samples.few().save(folder)
    (folder / VERIFICATION).write_text(json.dumps(verification, indent=1) + "\n")
    if wanted.graphs:
        shutil.copyfile(standalone.__file__, folder / SCRIPT)
    card = model_card(
        manifest, verification, licence=wanted.licence, complexity=total_complexity(manifest)
    )
    (folder / CARD).write_text(card, encoding="utf-8")
    write_manifest(folder, manifest)


def _write_graphs(
    source: JobToExport,
    model: Model,
    names: list[str],
    folder: Path,
    *,
    tell: Callable[[str], None],
) -> None:
    if PROGRAM in names:
        tell(f"writing {PROGRAM}")
        graphs.write_program(model, folder)
    if ONNX in names or INT8 in names:
        tell(f"writing {ONNX}")
        graphs.write_onnx(model, folder)
    if INT8 in names:
        tell(f"writing {INT8}")
        graphs.write_int8(folder, _calibration_images(source))
        if ONNX not in names:
            (folder / ONNX).unlink()


def _calibration_images(source: JobToExport) -> NDArray[np.uint8]:
    """Return training images of all classes, on which no score is measured."""
    rows = stratified_subset(
        strata(source.data.train_labels),
        source.folds.folds[JUDGING_FOLD].train_rows,
        size=CALIBRATION_ROWS,
        seed=source.job.spec.seed,
    )
    return source.data.train_images[rows]


def _judged_rows(source: JobToExport, model: Model, most: int) -> NDArray[np.int64]:
    """Return validation rows in random order: as many as are predicted soon enough."""
    possible = source.folds.folds[JUDGING_FOLD].validation_rows
    few = source.data.train_images[possible[:PACE_ROWS]]
    model.predict(few)
    begin = time.perf_counter()
    model.predict(few)
    pace = (time.perf_counter() - begin) / len(few)
    seed, labels = source.job.spec.seed, strata(source.data.train_labels)
    count = max(FEWEST_ROWS, min(most, int(ARM_SECONDS / pace)))
    rows = stratified_subset(labels, possible, size=count, seed=seed)
    return np.random.default_rng(seed).permutation(rows)


def _judged(
    source: JobToExport, rows: NDArray[np.int64], folder: Path, *, tell: Callable[[str], None]
) -> tuple[Samples, dict[str, Any]]:
    """Return these rows with what the float32 networks say of them, and what that cost."""
    tell(f"predicting {len(rows):,} validation images with the float32 networks")
    images = source.data.train_images[rows]
    eager = eager_answer(folder, images)
    weights = [folder / entry.file for entry in read_manifest(folder).networks]
    told = {"bytes": sum(path.stat().st_size for path in weights), **eager.costs()}
    return Samples(images, source.data.train_labels[rows], eager.predictions), told


def _verification(samples: Samples, files: dict[str, Any]) -> dict[str, Any]:
    """Return what `verification.json` holds; latencies in seconds, memory and size in bytes."""
    libraries = ("torch", "onnx", "onnxruntime", "numpy")
    return {
        "rows": len(samples.images),
        "rows_from": "validation rows of the judging fold",
        "against": "the float32 networks of this folder, loaded by Athanor in a new process",
        "clean_process": CLEAN,
        "machine": {
            "processor": processor_name(),
            "cores": usable_cores(),
            **{name: version(name) for name in libraries},
        },
        "files": files,
    }


def processor_name() -> str:
    """Return what the processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def total_complexity(manifest: Manifest) -> Complexity:
    """Return what all networks of a folder take together for an image, all views of it."""
    views = [VIEW_COUNTS[entry.architecture.views] for entry in manifest.networks]
    costs = [
        measure_complexity(
            entry.architecture, image_shape=manifest.image_shape, classes=manifest.outputs
        )
        for entry in manifest.networks
    ]
    return Complexity(
        parameters=sum(cost.parameters for cost in costs),
        macs=sum(cost.macs * count for cost, count in zip(costs, views, strict=True)),
        activations=max(cost.activations for cost in costs),
    )
