"""The host is measured once, and the fastest way of computing is chosen."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from search.plan import HostSpeed
from workers.device import DevicePlan
from workers.environment import thread_environment
from workers.host_speed import fixed_share, host_speed, images_per_second

CPU = DevicePlan()


class Probe:
    """Stands in for the measuring, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[DevicePlan] = []
        self.progress: list[str] = []
        self.busy = 1.0

    def __call__(self, plan: DevicePlan, *, seconds: float | None = None, **_: object) -> float:
        if seconds is None:
            self.asked.append(plan)
        return (900.0 if plan.dtype == "float32" and plan.channels_last else 500.0) / self.busy

    def speed(self, cache: Path) -> tuple[HostSpeed, DevicePlan]:
        return host_speed(cache=cache, progress=self.progress.append)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    made = Probe()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("workers.host_speed.images_per_second", made)
    return made


def test_the_fastest_way_of_computing_is_chosen(probe: Probe, tmp_path: Path) -> None:
    speed, plan = probe.speed(tmp_path)
    assert speed.images_per_second == 900.0 and speed.macs > 0
    assert plan.dtype == "float32" and plan.channels_last
    assert len(probe.asked) == len(set(probe.asked)) == 3 and len(probe.progress) == 1


def test_a_host_is_measured_once(probe: Probe, tmp_path: Path) -> None:
    first = probe.speed(tmp_path / "cache")
    measured = len(probe.asked)
    assert probe.speed(tmp_path / "cache") == first
    (path,) = (tmp_path / "cache").iterdir()
    record = json.loads(path.read_text())
    record["speed"]["images_per_second"] = 12345.0
    path.write_text(json.dumps(record))
    speed, plan = probe.speed(tmp_path / "cache")
    assert speed.images_per_second == 12345.0 and plan == first[1]
    assert len(probe.asked) == measured and len(probe.progress) == 1


def test_other_numbers_of_threads_are_measured_apart(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A speed of eight threads would plan a budget for one."""
    probe.speed(tmp_path)
    asked = len(probe.asked)
    threads = torch.get_num_threads()
    monkeypatch.setattr("torch.get_num_threads", lambda: threads + 1)
    probe.speed(tmp_path)
    assert len(probe.asked) == 2 * asked


def test_memory_in_other_pages_is_measured_apart(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark's speed, without a worker's huge pages, would plan a worker's budget."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    probe.speed(tmp_path)
    monkeypatch.setenv("GLIBC_TUNABLES", thread_environment(1)["GLIBC_TUNABLES"] + ":a=b")
    probe.speed(tmp_path)
    assert len(probe.asked) == 6


@pytest.mark.parametrize(("busy", "kept"), [(3.0, False), (1.1, True), (0.5, True)])
def test_what_was_measured_on_a_busy_host_is_measured_again(
    probe: Probe, tmp_path: Path, busy: float, kept: bool
) -> None:
    probe.busy = busy
    first = probe.speed(tmp_path)
    probe.busy = 1.0
    assert (probe.speed(tmp_path) == first) is kept
    assert probe.speed(tmp_path)[0].images_per_second == (round(900.0 / busy) if kept else 900.0)
    assert len(probe.asked) == (3 if kept else 6)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "null",
        lambda text: "[]",
        lambda text: text.replace("images_per_second", "images"),
        lambda text: text.replace("float32", "float33"),
        lambda text: text.replace("900", '"fast"'),
        lambda text: "\xff",
    ],
)
def test_a_damaged_memory_is_measured_again_and_mended(
    probe: Probe, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    first = probe.speed(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_text()
    path.write_bytes(damage(whole).encode("latin-1"))
    assert probe.speed(tmp_path) == first and len(probe.asked) == 6
    assert path.read_text() == whole


def test_a_memory_that_cannot_be_written_is_done_without(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert probe.speed(tmp_path / "file")[0].images_per_second == 900.0
    assert len(probe.asked) == 6


def test_measuring_gives_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.host_speed.PROBE_SECONDS", 0.01)
    assert images_per_second(CPU) > 0.0


@pytest.mark.parametrize(("fixed", "found"), [(0.0, 0.0), (0.9, 0.9), (1.0, 0.995)])
def test_a_second_network_shows_what_does_not_depend_on_macs(fixed: float, found: float) -> None:
    speed = HostSpeed(images_per_second=1000.0, macs=1_000_000)
    seconds = 0.001 * (fixed + (1.0 - fixed) * 40.0)
    share = fixed_share(speed, macs=40_000_000, images_per_second=1.0 / seconds)
    assert share == pytest.approx(found)
    measured = speed.model_copy(update={"fixed_share": share})
    if fixed == found:
        assert measured.seconds_per_image(40_000_000) == pytest.approx(seconds)
        assert measured.macs_within(0.002) == pytest.approx(1_000_000 * (1.0 + 1.0 / (1.0 - fixed)))


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_emulates_bfloat16_is_not_asked_for_it(
    native: bool, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *, including_emulation: native)
    _, plan = probe.speed(tmp_path)
    assert plan.on_gpu
    assert any(plan.dtype == "bfloat16" for plan in probe.asked) is native


@pytest.mark.parametrize(("device", "each"), [("cpu", 900.0), ("cuda", 300.0)])
def test_workers_have_a_core_each_but_share_a_gpu(
    device: str, each: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = HostSpeed(images_per_second=900.0, macs=1_000_000), DevicePlan(device=device)
    monkeypatch.setattr("workers.host_speed._measured", lambda *_: measured)
    speed, plan = host_speed(cache=tmp_path, progress=lambda _: None, workers=3)
    assert speed.images_per_second == pytest.approx(each) and plan == measured[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_a_network_of_many_more_macs_takes_little_longer(tmp_path: Path) -> None:
    speed, plan = host_speed(cache=tmp_path, progress=lambda _: None)
    assert plan.on_gpu and speed.images_per_second > 0.0
    assert 0.0 < speed.fixed_share < 1.0
