"""Where and how a network is computed: device, number type and memory format in one place.

bfloat16 with channels-last is about twice as fast on processors that multiply it natively and
slower on those that do not, so a short probe measures this host once and the answer is kept.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from search.plan import HostSpeed
from spaces.architecture import Architecture, Stage, Stem
from spaces.complexity import measure_complexity
from spaces.errors import SpaceError
from spaces.network import build_network
from spaces.values import Value
from workers.files import write_atomically

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


class DevicePlan(Value):
    """How to compute: one value, written into the job so that every worker does the same."""

    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.device)

    @property
    def available(self) -> bool:
        """Whether this machine has the device."""
        return self.torch_device.type != "cuda" or torch.cuda.is_available()

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number type of activations; weights stay float32."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def autocast(self) -> torch.autocast:
        """Return a context in which convolutions and products use `dtype`."""
        return torch.autocast(
            self.torch_device.type, dtype=self.torch_dtype, enabled=self.dtype != "float32"
        )

    def laid_out(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (n, channels, height, width), given channels-last, in the plan's format.

        Convolutions compute in the format of their input, whatever that of their weights is.
        """
        return images if self.channels_last else images.contiguous()

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device and into the memory format."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return network.to(self.torch_device, memory_format=layout)  # type: ignore[call-overload,no-any-return]


def host_speed(*, cache: Path, progress: Callable[[str], None]) -> tuple[HostSpeed, DevicePlan]:
    """Return the fastest plan for one worker on this host, and its speed.

    Measured at the first call and remembered below `cache`, by processor, torch and threads. A
    memory is kept until a glance shows a host that is faster: it was busy when it was measured.
    """
    path = cache / f"host-{_host_key()}.json"
    known = _remembered(path)
    if known is not None:
        speed, plan = known
        if images_per_second(plan, seconds=GLANCE_SECONDS) <= BUSY * speed.images_per_second:
            return known
    progress("measuring which number type is fastest on this host")
    speeds = {plan: images_per_second(plan) for plan in _choices()}
    best = max(speeds, key=lambda plan: speeds[plan])
    macs = measure_complexity(PROBE_NETWORK, image_shape=(PROBE_SIDE, PROBE_SIDE, 1), classes=10)
    speed = HostSpeed(images_per_second=round(speeds[best]), macs=macs.macs)
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


def images_per_second(plan: DevicePlan, *, seconds: float | None = None) -> float:
    """Measure whole training steps of the probe's network, in images a second.

    Args:
        seconds: to measure for, `PROBE_SECONDS` by default.
    """
    lasts = PROBE_SECONDS if seconds is None else seconds
    network = plan.place(build_network(PROBE_NETWORK, channels=1, classes=10, seed=0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(PROBE_BATCH, 1, PROBE_SIDE, PROBE_SIDE, device=plan.torch_device)
    labels = torch.zeros(PROBE_BATCH, dtype=torch.long, device=plan.torch_device)

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
    return PROBE_BATCH / sorted(times)[len(times) // 4]


def _choices() -> list[DevicePlan]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [
        DevicePlan(device=device, dtype="float32", channels_last=False),
        DevicePlan(device=device, dtype="float32", channels_last=True),
        DevicePlan(device=device, dtype="bfloat16", channels_last=True),
    ]


def _host_key() -> str:
    """Name the processor, the device and torch: a change of any calls for a new measurement."""
    processor = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        head = cpuinfo.read_text().split("\n\n", 1)[0]
        lines = [line for line in head.splitlines() if line.startswith(("model name", "flags"))]
        processor = "\n".join(lines)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    text = f"{processor}|{device}|{torch.__version__}|{torch.get_num_threads()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
