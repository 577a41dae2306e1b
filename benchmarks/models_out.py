"""Models out: does an exported folder say what the search's networks say, how fast, how large?

    python benchmarks/models_out.py --prepare    seven minutes: a search, an environment
    python benchmarks/models_out.py --quick      under a minute
    python benchmarks/models_out.py              about ten minutes

One search on Fashion-MNIST, cached, gives two networks of 0.65 million parameters. The quick form
writes graphs of one of them anew and compares them on 1,000 test images. The full form exports the
ensemble with its verification and takes all 10,000; then a fresh environment that has numpy,
pillow and onnxruntime alone runs the folder's script on as many PNG files. The search itself has
opened the test set; comparing predictions on its images opens nothing new.

Prints a table and, as its last line, one JSON object:

    onnx_max_diff, torch_export_max_diff    largest difference of a probability, float32
    int8_accuracy_drop                      share of test images, positive if 8 bits are worse
    int8_size_ratio                         of the file, against float32 ONNX
    latency_ratios                          seconds against eager float32, 1 and 64 images (full)
    script_accuracy, search_accuracy        of the script in the fresh environment, and of the
                                            search's own statement (full)
    bad_inputs, bad_inputs_mishandled       from benchmarks/bad_inputs.py

A figure that could not be measured is null. The exit status is 1 if one is, or breaks its limit.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from athanor.exporting import FORMAT_NAMES, ExportOptions, run_export
from athanor.places import Places
from benchmarks.environments import Environment, rivals
from benchmarks.results import machine, print_table
from benchmarks.side_by_side import fashion_mnist
from search.metrics import accuracy
from workers import graphs
from workers.model_folder import Model, load_model
from workers.standalone import INT8, ONNX, PROGRAM, load

JOB = """\
data: fashion-mnist
name: models-out
budget: 5m
trials: 1
folds: 2
finalists: 1
search_rows: 2000
max_macs: 300000000
baselines: false
space: {stages: [3, 3], depth: [2, 2], width: [48]}
"""
FRESH = Environment("models-out", ("numpy", "pillow", "onnxruntime"))
FILES = {"eager": None, "onnx": ONNX, "torch_export": PROGRAM, "int8": INT8}
QUICK_ROWS = 1000  # test images
CALIBRATION_ROWS = 256
BATCH = 64
MAX_DIFF = 1e-4
MAX_DROP = 0.005  # of the accuracy
MAX_SIZE = 0.35  # of float32 ONNX

LATENCIES = ("latency_1", "latency_64")

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The cached search."""

    folder: Path

    @property
    def places(self) -> Places:
        """Its store and artifacts."""
        return Places.of(str(self.folder / "athanor.db"), self.folder / "artifacts")

    @property
    def model(self) -> Path:
        """The model folder that the search has left."""
        return self.folder / "model"

    def search(self) -> list[str]:
        """Run the search unless it was run; return what went wrong."""
        if (self.model / "model.json").is_file():
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "job.yaml").write_text(JOB)
        options = ("--store", self.folder / "athanor.db", "--artifacts", self.folder / "artifacts")
        # it may have been interrupted before: each search of one store may open the test set
        command = [sys.executable, "-m", "athanor", "search", self.folder / "job.yaml"]
        command += ["--reopen-test", "--out", self.model, *options]
        done = subprocess.run(
            list(map(str, command)), cwd=Path(__file__).resolve().parents[1], check=False
        )
        return [f"the search ended with status {done.returncode}"] if done.returncode else []


def one_network(model: Model) -> Model:
    """Return the first network of an ensemble, alone."""
    entry = model.manifest.networks[0].model_copy(update={"weight": 1.0})
    manifest = model.manifest.model_copy(update={"networks": (entry,)})
    return Model(manifest, model.networks[:1], model.plan)


def in_batches(predict: Any, images: NDArray[np.uint8]) -> NDArray[Any]:
    """Return predictions (rows, classes), asked for a batch at a time."""
    parts = [predict(images[begin : begin + BATCH]) for begin in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def compare(model: Model, folder: Path, *, rows: int) -> Figures:
    """Compare the graphs in a folder with the networks, on test images."""
    data = fashion_mnist()
    images, labels = data.test_images[:rows], data.test_labels[:rows]
    expected = model.predict(images)
    found: dict[str, Figures] = {}
    for name, file in FILES.items():
        said = expected if file is None else in_batches(load(folder / file), images)
        found[name] = {
            "model": name,
            "max_diff": float(np.abs(said - expected).max()),
            "same_class": float((said.argmax(1) == expected.argmax(1)).mean()),
            "accuracy": accuracy(labels, said),
            "bytes": None if file is None else (folder / file).stat().st_size,
        }
    print_table(list(found.values()), tuple(found["eager"]))
    return {
        "rows": rows,
        "onnx_max_diff": found["onnx"]["max_diff"],
        "torch_export_max_diff": found["torch_export"]["max_diff"],
        "int8_max_diff": found["int8"]["max_diff"],
        "int8_accuracy_drop": found["eager"]["accuracy"] - found["int8"]["accuracy"],
        "int8_size_ratio": found["int8"]["bytes"] / found["onnx"]["bytes"],
    }


def quick(prepared: Prepared, folder: Path) -> Figures:
    """Write the graphs of one network and compare them."""
    model = one_network(load_model(prepared.model))
    graphs.write_program(model, folder)
    graphs.write_onnx(model, folder)
    graphs.write_int8(folder, fashion_mnist().train_images[:CALIBRATION_ROWS])
    return compare(model, folder, rows=QUICK_ROWS)


def full(prepared: Prepared, folder: Path) -> Figures:
    """Export the ensemble as a person would, compare on all test images, run its script."""
    out = folder / "model"
    model = load_model(prepared.model)
    options = ExportOptions(out=out, overwrite=False, formats=FORMAT_NAMES)
    run_export(prepared.places, model.manifest.job, options)
    found = compare(model, out, rows=len(fashion_mnist().test_images))
    measured = json.loads((out / "verification.json").read_text())["files"]
    ratios = {
        name: [measured[file][key] / measured["safetensors"][key] for key in LATENCIES]
        for name, file in FILES.items()
        if file is not None
    }
    search_accuracy = model.manifest.scores["test_accuracy"]
    return {
        **found,
        "latency_ratios": ratios,
        "script_accuracy": script_accuracy(out, folder) if FRESH.installed else None,
        "search_accuracy": search_accuracy,
    }


def script_accuracy(model: Path, folder: Path) -> float:
    """Return the accuracy of a folder's script in the fresh environment, on PNG files."""
    data = fashion_mnist()
    images = folder / "images"
    images.mkdir()
    for row, pixels in enumerate(data.test_images[..., 0]):
        Image.fromarray(pixels).save(images / f"{row:05d}.png")
    answer = folder / "answer.csv"
    command = [FRESH.python, "-I", model / "predict.py", images, "--out", answer]
    subprocess.run(list(map(str, command)), check=True)
    with answer.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = np.array(data.class_names)[data.test_labels]
    right = [names[int(Path(row["image"]).stem)] == row["class"] for row in rows]
    return sum(map(bool, right)) / len(names)


def bad_inputs(*, quick: bool) -> Figures:
    """Run the benchmark of bad inputs, if it is here; return its two figures."""
    found: Figures = {"bad_inputs": None, "bad_inputs_mishandled": None}
    if find_spec("benchmarks.bad_inputs") is None:
        print("without benchmarks/bad_inputs.py bad inputs are not tried", file=sys.stderr)
        return found
    benchmark = import_module("benchmarks.bad_inputs")
    run = benchmark.run_here if quick else benchmark.run  # in this process, or in one for each
    with tempfile.TemporaryDirectory(prefix="athanor-") as name:
        told = benchmark.bad_inputs(Path(name), run=run)
    return {name: told[name] for name in found}


def within(figures: Figures) -> bool:
    """Whether everything was measured and keeps its limit."""
    if any(value is None for value in figures.values()):
        return False
    differences = (figures["onnx_max_diff"], figures["torch_export_max_diff"])
    agrees = figures.get("script_accuracy") == figures.get("search_accuracy")
    return (
        max(differences) <= MAX_DIFF
        and figures["int8_accuracy_drop"] <= MAX_DROP
        and figures["int8_size_ratio"] <= MAX_SIZE
        and not figures["bad_inputs_mishandled"]
        and agrees
    )


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", action="store_true", help="search, install")
    parser.add_argument("--quick", action="store_true", help="one network, 1,000 images")
    parser.add_argument("--out", type=Path, help="JSON file to write the figures to as well")
    options = parser.parse_args()
    prepared = Prepared(rivals().parent / "models-out")
    if options.prepare:
        problems = [*prepared.search(), *FRESH.install()]
        print("\n".join(problems), file=sys.stderr)
        return int(bool(problems))
    names = ("onnx_max_diff", "torch_export_max_diff", "int8_accuracy_drop", "int8_size_ratio")
    figures: Figures = dict.fromkeys(names)
    if (prepared.model / "model.json").is_file():
        with tempfile.TemporaryDirectory(prefix="athanor-") as name:
            figures |= (quick if options.quick else full)(prepared, Path(name))
    else:
        print("--prepare must first run the search", file=sys.stderr)
    figures |= bad_inputs(quick=options.quick)
    told = {**figures, "machine": machine()}
    if options.out is not None:
        options.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told))
    return int(not within(figures))


if __name__ == "__main__":
    sys.exit(main())
