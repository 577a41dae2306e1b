"""What this machine's processors take, where the kernel's RAPL counters tell it."""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
WATT_HOUR = 3600.0  # joules


class EnergyMeter:
    """Counts joules from its making on; whatever else the machine does counts, too.

    A counter begins again at its range's end, at full power after about an hour, so it must be
    read more often than that. Most systems let root alone read it.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._last: dict[Path, int] = {}
        self._range: dict[Path, int] = {}
        self._micro = 0
        for zone in sorted(root.glob("intel-rapl:*")):
            if zone.name.count(":") == 1:  # a whole processor; its parts are zones below it
                now, most = _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")
                if now is not None and most is not None:
                    self._last[zone], self._range[zone] = now, most

    def joules(self) -> float | None:
        """Return what was taken so far; None where that cannot be known."""
        for zone, before in self._last.items():
            now = _number(zone / "energy_uj")
            if now is None:
                return None
            self._micro += now - before if now >= before else now + self._range[zone] - before
            self._last[zone] = now
        return self._micro / 1e6 if self._last else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
