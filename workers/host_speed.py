"""Which way of computing is fastest on this host, and how fast it is.

bfloat16 with channels-last is about twice as fast on processors that multiply it natively and
slower on those that do not, so a short probe measures this host once and the answer is kept.
"""

import contextlib
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from search.plan import HostSpeed
from spaces.architecture import Architecture, Stage, Stem
from spaces.complexity import measure_complexity
from spaces.errors import SpaceError
from spaces.network import build_network
from spaces.recipe import Candidate, Recipe
from workers.cuda_graphs import EAGER_STEPS
from workers.device import DevicePlan
from workers.environment import allocation
from workers.files import write_atomically
from workers.rows import Rows
from workers.training import Training

PROBE_SECONDS = 0.4  # per setting: long enough for tens of steps of the probe's small network
GLANCE_SECONDS = 0.05  # for the setting that is remembered
BUSY = 1.3  # times faster than remembered, from which on the memory is that of a busy host
PROBE_BATCH = 128
PROBE_SIDE = 28
PROBE_NETWORK = Architecture(
    stem=Stem(width=16, stride=2),
    stages=(
        Stage(depth=1, width=16, downsampling="none"),
        Stage(depth=2, width=32),
        Stage(depth=2, width=64),
    ),
)
LARGER = Architecture(  # by which it is seen how much of the probe's time its MACs take
    stem=Stem(width=128, stride=2),
    stages=(
        Stage(depth=1, width=128, downsampling="none"),
        Stage(depth=2, width=256),
        Stage(depth=2, width=512),
    ),
)
PROBE_ROWS = 4096  # of a training that is measured
STEPS_AT_ONCE = 16  # that a GPU is given before it is waited for
MOST_FIXED = 0.995  # share of the probe's time; what is left of it is less than its noise


def host_speed(
    *, cache: Path, progress: Callable[[str], None], workers: int = 1
) -> tuple[HostSpeed, DevicePlan]:
    """Return the fastest plan for a worker on this host, and the speed of each of so many.

    Measured with one at the first call and remembered below `cache`, by `host_key`. A memory is
    kept until a glance shows a host that is faster: it was busy when it was measured. Workers
    have a core each; on a GPU they take turns.
    """
    speed, plan = _measured(cache, progress)
    return speed.shared_by(workers) if plan.on_gpu else speed, plan


def _measured(cache: Path, progress: Callable[[str], None]) -> tuple[HostSpeed, DevicePlan]:
    path = cache / f"host-{host_key()}.json"
    known = _remembered(path)
    if known is not None:
        speed, plan = known
        if images_per_second(plan, seconds=GLANCE_SECONDS) <= BUSY * speed.images_per_second:
            return known
    progress("measuring which number type is fastest on this host")
    speeds = {plan: images_per_second(plan) for plan in _choices()}
    best = max(speeds, key=lambda plan: speeds[plan])
    speed = HostSpeed(images_per_second=round(speeds[best]), macs=_macs(PROBE_NETWORK))
    if best.on_gpu:
        larger = images_per_second(best, network=LARGER)
        share = fixed_share(speed, macs=_macs(LARGER), images_per_second=larger)
        speed = speed.model_copy(update={"fixed_share": share})
    tried = [{**plan.to_json(), "images_per_second": round(speeds[plan])} for plan in speeds]
    record = {"plan": best.to_json(), "speed": speed.to_json(), "tried": tried}
    # a cache that cannot be written costs a second at the next start, nothing else
    with contextlib.suppress(OSError):
        write_atomically(path, json.dumps(record, indent=1).encode())
    return speed, best


def _remembered(path: Path) -> tuple[HostSpeed, DevicePlan] | None:
    try:
        known = json.loads(path.read_text())
        return HostSpeed.from_json(known["speed"]), DevicePlan.from_json(known["plan"])
    except (OSError, ValueError, KeyError, TypeError, SpaceError):
        return None


def fixed_share(speed: HostSpeed, *, macs: int, images_per_second: float) -> float:
    """Return the share of the probe's time that does not depend on MACs, by a second network.

    On a GPU that is most of the time of a small network.
    """
    times = speed.images_per_second / images_per_second
    # times = share + (1 - share) * macs / speed.macs
    ratio = macs / speed.macs
    return min(max((ratio - times) / (ratio - 1.0), 0.0), MOST_FIXED)


def images_per_second(
    plan: DevicePlan, *, network: Architecture = PROBE_NETWORK, seconds: float | None = None
) -> float:
    """Measure whole training steps, by default of the probe's network, in images a second.

    On a GPU these are a training's with all that it does between them, as that takes longer there
    than the steps of a small network.

    Args:
        seconds: to measure for, `PROBE_SECONDS` by default.
    """
    lasts = PROBE_SECONDS if seconds is None else seconds
    if plan.on_gpu:
        speed = _training_speed(plan, network, lasts)
        torch.cuda.empty_cache()  # what stays reserved counts as used when memory is looked at
        return speed
    return PROBE_BATCH / _step_seconds(plan, network, lasts)


def _step_seconds(plan: DevicePlan, architecture: Architecture, lasts: float) -> float:
    network = plan.place(build_network(architecture, channels=1, classes=10, seed=0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(PROBE_BATCH, 1, PROBE_SIDE, PROBE_SIDE)
    labels = torch.zeros(PROBE_BATCH, dtype=torch.long)

    def step() -> float:
        with plan.autocast():
            loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    step()
    step()
    times: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < lasts:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    # other work on this host only ever slows a step down, so the faster ones tell the truth
    return sorted(times)[len(times) // 4]


def _training_speed(plan: DevicePlan, architecture: Architecture, lasts: float) -> float:
    shape = (PROBE_ROWS, PROBE_SIDE, PROBE_SIDE, 1)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = np.arange(PROBE_ROWS) % 10
    rows = Rows(images, labels, images[:1], labels[:1], classes=10)
    recipe = Recipe(batch_size=PROBE_BATCH, learning_rate=0.01, epochs=10_000)
    candidate = Candidate(architecture=architecture, recipe=recipe)
    training = Training(candidate, rows, plan=plan, seed=0)
    batches = (batch for _ in itertools.count() for batch in training.batches.one_pass())

    def take(count: int) -> None:
        for batch in itertools.islice(batches, count):
            training.take_step(batch)
        plan.wait()

    take(EAGER_STEPS + 1)
    taken, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < lasts:
        take(STEPS_AT_ONCE)
        taken += STEPS_AT_ONCE
    return taken * PROBE_BATCH / (time.perf_counter() - begin)


def _macs(network: Architecture) -> int:
    shape = (PROBE_SIDE, PROBE_SIDE, 1)
    return measure_complexity(network, image_shape=shape, classes=10).macs


def _choices() -> list[DevicePlan]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    choices = [
        DevicePlan(device=device, dtype="float32", channels_last=False),
        DevicePlan(device=device, dtype="float32", channels_last=True),
    ]
    # a GPU that only emulates bfloat16, as those before Ampere do, has no convolutions in it
    if device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False):
        choices.append(DevicePlan(device=device, dtype="bfloat16", channels_last=True))
    return choices


def host_key() -> str:
    """Name what speeds depend on: the processor, the device, torch, its threads and allocation."""
    processor = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        head = cpuinfo.read_text().split("\n\n", 1)[0]
        lines = [line for line in head.splitlines() if line.startswith(("model name", "flags"))]
        processor = "\n".join(lines)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    text = f"{processor}|{device}|{torch.__version__}|{torch.get_num_threads()}|{allocation()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
