"""Throughput and utilisation of one GPU by how many workers train on it side by side.

    python benchmarks/slots.py                     about two minutes, on an NVIDIA GPU

Trains the three sizes of `throughput.py`'s network on real Fashion-MNIST in 1, 2, 4 and 8
processes. Their slices alternate; the median of three counts. Prints a table and, as its last line,
one JSON object:

    sizes    for each size and number of processes: images a second of all together, and the share
             of the time in which the GPU had any work, in percent, by nvidia-smi
    machine  where this was measured
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script
from benchmarks.arms import Processes, architecture
from benchmarks.results import machine, print_table
from spaces.complexity import measure_complexity
from workers.device import DevicePlan

SLOTS = (1, 2, 4, 8)
WIDTHS = (16, 32, 64)
ROUNDS = 3
ASK = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100")


class Utilisation:
    """Samples the GPU's utilisation, in percent, over a block."""

    def __enter__(self) -> "Utilisation":
        self.samples: list[float] = []
        self._process = subprocess.Popen(ASK, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.samples += [float(line) for line in self._process.stdout if line.strip().isdigit()]


def measure(plan: DevicePlan, *, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each size and number of processes."""
    rows = []
    pools = {count: Processes(count=count, threads=1) for count in SLOTS}
    for width in WIDTHS:
        macs = measure_complexity(architecture(width), image_shape=(28, 28, 1), classes=10).macs
        for pool in pools.values():
            pool.images_per_second("ours", width=width, plan=plan, seconds=0.0)
        speeds: dict[int, list[float]] = {count: [] for count in SLOTS}
        busy: dict[int, list[float]] = {count: [] for count in SLOTS}
        for _ in range(ROUNDS):
            for count, pool in pools.items():
                with Utilisation() as utilisation:
                    speed = pool.images_per_second("ours", width=width, plan=plan, seconds=seconds)
                speeds[count].append(speed)
                busy[count] += utilisation.samples
        rows += [
            {
                "width": width,
                "mmacs": round(macs / 1e6, 2),
                "slots": count,
                "images_per_second": round(statistics.median(speeds[count])),
                "utilisation": round(statistics.fmean(busy[count])) if busy[count] else None,
            }
            for count in SLOTS
        ]
    for pool in pools.values():
        pool.close()
    return rows


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of a slice")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("slots.py needs an NVIDIA GPU; on processors there is one worker a core")
    rows = measure(DevicePlan(device="cuda", dtype=options.dtype), seconds=options.seconds)
    print_table(rows, tuple(rows[0]))
    figures = {"sizes": rows, "machine": machine()}
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
