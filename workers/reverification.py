"""Verify a folder that was exported some time ago, perhaps on another machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.comparison import Answer, compare_all, compared, eager_answer, unit_of
from workers.model_folder import Manifest, check_files, load_model, read_manifest
from workers.samples import SAMPLES, Samples
from workers.standalone import LIBRARIES


def verify_folder(folder: Path, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Compare all files with their hashes, then what every model says of the samples.

    Nothing of the folder is run: graphs are loaded by our own copy of its script.

    Returns:
        As in `verification.json`, with `safetensors` for the float32 networks; `rows` is 0 where
        the folder has no samples, and then `files` is empty.

    Raises:
        ModelFolderError: a file is missing, was altered, or does not fit `model.json`.
        JobFailed: a model does not load, or says something else than it did.
    """
    manifest = read_manifest(folder)
    tell("comparing files with their hashes")
    check_files(folder, manifest)
    load_model(folder)
    if SAMPLES not in manifest.files:
        return {"hashes": len(manifest.files), "rows": 0, "files": {}}
    outputs = len(manifest.class_names) or 1
    samples = Samples.load(folder, image_shape=manifest.image_shape, outputs=outputs)
    tell("predicting the samples with the float32 networks")
    found = {"safetensors": _networks(manifest, eager_answer(folder, samples.images), samples)}
    graphs = [name for name in LIBRARIES if name in manifest.files]
    unit = unit_of(manifest)
    found |= compare_all(folder, samples, files=graphs, unit=unit, tell=tell)
    return {"hashes": len(manifest.files), "rows": len(samples.images), "files": found}


def _networks(manifest: Manifest, answer: Answer, samples: Samples) -> dict[str, Any]:
    told = compared("the networks of model.json", answer, samples, unit=unit_of(manifest))
    return {**told, **answer.costs()}
