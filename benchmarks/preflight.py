"""What preflight finds of planted faults, and how fast folders of images become training data.

`python benchmarks/preflight.py [--quick]` plants copies into Fashion-MNIST and counts those that
`athanor data check` finds; plants 2 % wrong labels and counts those that a job's networks name; and
decodes a folder of PNG files of mixed sizes (`--files`, 100,000 by default), with the share of the
cores that it uses and the speed of a training that reads the result from the disk. With `--quick`
there are fewer images, and the wrong labels are left out. The last line is a JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from PIL import Image

from athanor.places import Places
from benchmarks.feeding import fed
from benchmarks.planted import KINDS, planted, with_wrong_labels
from benchmarks.results import machine, print_table
from search.duplicates import near_duplicates
from search.label_noise import most_doubtful, suspected_labels
from search.machine import usable_cores
from search.sources import ImageOptions
from workers.data import load_data
from workers.folders import list_folder
from workers.image_data import ImageData

COPIES, QUICK_COPIES = 1000, 100  # of each kind
QUICK_IMAGES = 8000
FILES, QUICK_FILES = 100_000, 1000
SIDES = (32, 160)  # pixels of a file's sides, from and to
WRONG_SHARE = 0.02


def duplicates(data: ImageData, *, quick: bool) -> dict[str, Any]:
    """Plant copies; return the recall of each kind and the precision of all pairs."""
    images = np.concatenate([data.train_images, data.test_images])[..., 0]
    images = images[:QUICK_IMAGES] if quick else images
    there = near_duplicates(images[..., None]).pairs
    more, pairs, kinds = planted(images, QUICK_COPIES if quick else COPIES, seed=0)
    begin = time.monotonic()
    found = {tuple(pair) for pair in near_duplicates(more[..., None]).pairs.tolist()}
    seconds = time.monotonic() - begin
    hits = np.array([pair in found for pair in pairs])
    recall = {f"recall_{kind}": float(hits[np.array(kinds) == kind].mean()) for kind in KINDS}
    return {
        "compared": len(more),
        "seconds": round(seconds, 1),
        **recall,
        "precision": round(len(found & set(pairs)) / len(found), 4),
        "pairs_in_the_original": len(there),
    }


def label_noise(data: ImageData, folder: Path, *, budget: str) -> dict[str, Any]:
    """Plant wrong labels, search, and return how many of them the networks name."""
    wrong, rows = with_wrong_labels(data.train_labels, WRONG_SHARE, classes=10, seed=0)
    np.savez(
        folder / "noisy.npz",
        images=data.train_images,
        labels=wrong,
        test_images=data.test_images,
        test_labels=data.test_labels,
    )
    (folder / "job.yaml").write_text(f"data: noisy.npz\nbudget: {budget}\nbaselines: false\n")
    from athanor.checking import out_of_fold
    from benchmarks.bad_inputs import run

    done = run(("search", "job.yaml", "--json"), folder)
    job_id = json.loads(done.text.strip().splitlines()[-1])["job"]
    runs = folder / "athanor-runs"
    places = Places.of(str(runs / "athanor.db"), runs / "artifacts")
    store = places.open()
    _, said = out_of_fold(store, store.jobs.get(job_id), places)
    store.close()
    covered = rows[said.covered[rows]]
    listed = most_doubtful(said, len(covered))
    return {
        "noise_planted": len(covered),
        "noise_looked_at": int(said.covered.sum()),
        "noise_recall": round(float(np.isin(covered, listed).mean()), 4),
        "noise_suspected": len(suspected_labels(said)),
        "noise_budget": budget,
    }


def write_files(root: Path, count: int) -> None:
    """Write PNG files of ten classes, crops of photographs of mixed sizes."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    for label in range(10):
        (root / f"c{label}").mkdir(parents=True)

    def write(number: int) -> None:
        random = np.random.default_rng(number)
        photo = photos[number % 2]
        height, width = random.integers(*SIDES, 2)
        top = random.integers(photo.shape[0] - height)
        left = random.integers(photo.shape[1] - width)
        image = Image.fromarray(photo[top : top + height, left : left + width])
        image.save(root / f"c{number % 10}" / f"{number:06d}.png", compress_level=1)

    with ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(write, range(count)):
            pass


def decoding(root: Path, cache: Path, count: int) -> tuple[dict[str, Any], ImageData]:
    """Decode a folder; return how fast, and with what share of the cores.

    Others may use the machine, too: of the cores' time that they left, the rest was idle.
    """
    begin = time.monotonic()
    list_folder(root)
    listed = time.monotonic() - begin
    begin, before, idle = time.monotonic(), os.times(), _idle_seconds()
    data = load_data(
        str(root), ImageOptions(image_size=64), cache=cache, progress=lambda text: print(text)
    )
    seconds, after = time.monotonic() - begin, os.times()
    used, idle = sum(after[:4]) - sum(before[:4]), _idle_seconds() - idle
    begin = time.monotonic()
    load_data(str(root), ImageOptions(image_size=64), cache=cache)
    assert data.decoded is not None
    return {
        "files": count,
        "listed_a_second": round(count / listed),
        "cache_seconds": round(seconds, 1),
        "cache_files_a_second": round(count / seconds),
        "cache_seconds_of_decoders": round(sum(after[2:4]) - sum(before[2:4]), 1),
        "cache_seconds_of_the_rest": round(sum(after[:2]) - sum(before[:2]), 1),
        "cache_cores_used": round(used / seconds / usable_cores(), 3),
        "cache_cores_used_of_those_left": round(used / (used + idle), 3),
        "cache_opened_seconds": round(time.monotonic() - begin, 2),
        "cache_MiB": round(sum(p.stat().st_size for p in data.decoded.folder.iterdir()) / 2**20),
    }, data


def _idle_seconds() -> float:
    """Return for how long this machine's cores have had nothing to do, all together."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, in under a minute")
    parser.add_argument("--files", type=int, help=f"PNG files that are decoded [{FILES:,}]")
    parser.add_argument("--noise-budget", default="10m", help="of the search on wrong labels [10m]")
    parser.add_argument("--parts", default="duplicates,noise,files", help="what is measured")
    parser.add_argument("--out", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    figures: dict[str, Any] = {}
    count = arguments.files or (QUICK_FILES if arguments.quick else FILES)
    clothes = load_data("fashion-mnist", cache=Places.of(None, None).cache)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "duplicates" in parts:
            figures |= duplicates(clothes, quick=arguments.quick)
        if "files" in parts:
            write_files(folder / "files", count)
            found, data = decoding(folder / "files", folder / "cache", count)
            assert data.decoded is not None
            figures |= {**found, **fed(data.decoded.folder, quick=arguments.quick)}
        if "noise" in parts and not arguments.quick:
            figures |= label_noise(clothes, folder, budget=arguments.noise_budget)
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    print_table(rows, ("figure", "value"))
    if arguments.out is not None:
        told = {"machine": machine(), **figures}
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
