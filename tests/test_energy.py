"""Energy is what the kernel's counters say, over their end and with several processors."""

from pathlib import Path

import pytest

from athanor.energy import EnergyMeter


def zone(root: Path, name: str, value: int, *, most: int = 1_000_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "energy_uj").write_text(f"{value}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder / "energy_uj"


def test_processors_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", 5_000_000), zone(tmp_path, "intel-rapl:1", 0)
    part = zone(tmp_path, "intel-rapl:0:0", 0)
    meter = EnergyMeter(tmp_path)
    assert meter.joules() == 0.0
    first.write_text("8000000")
    second.write_text("500000")
    part.write_text("2000000")
    assert meter.joules() == pytest.approx(3.5)
    assert meter.joules() == pytest.approx(3.5)


def test_a_counter_that_began_again_is_followed(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", 999_000_000)
    meter = EnergyMeter(tmp_path)
    counter.write_text("2000000")
    assert meter.joules() == pytest.approx(3.0)


def test_where_nothing_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "none").joules() is None
    counter = zone(tmp_path, "intel-rapl:0", 1)
    meter = EnergyMeter(tmp_path)
    counter.unlink()
    assert meter.joules() is None
