"""The energy of a training, by files that look like those of RAPL."""

from __future__ import annotations

from pathlib import Path

import pytest

from unet3d.training import energy
from unet3d.training.energy import JOULES, Counter, EnergyMeter, rapl_counters

SPAN = 262_143_328_850  # microjoules, as of a real package


def write_zone(folder: Path, zone: str, name: str, microjoules: int) -> Path:
    """A zone as Linux shows it."""
    path = folder / zone
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{SPAN}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    return path / "energy_uj"


def test_packages_are_added_up_also_where_a_counter_begins_again(tmp_path: Path) -> None:
    """Parts of a package and the whole platform, which contain the same joules, do not count."""
    first = write_zone(tmp_path, "intel-rapl:0", "package-0", SPAN - 1_000_000)
    second = write_zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    part = write_zone(tmp_path, "intel-rapl:0:0", "core", 0)
    platform = write_zone(tmp_path, "intel-rapl:2", "psys", 0)
    counters = rapl_counters(tmp_path, share=0.5)
    assert len(counters) == 2
    meter = EnergyMeter(counters, before=2.0)
    first.write_text("2000000\n")  # 1 J to the end, 2 J since
    second.write_text("12000000\n")
    for other in (part, platform):
        other.write_text("999000000\n")
    assert meter.metrics()["perf/energy_kwh"] == pytest.approx(2.0 + 0.5 * (3 + 7) / JOULES)
    second.write_text("13000000\n")
    assert meter.metrics()["perf/energy_kwh"] == pytest.approx(2.0 + 0.5 * (3 + 8) / JOULES)
    second.unlink()
    assert meter.metrics() == {}
    meter.close()


def test_what_cannot_be_read_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One package of two would be half of a figure; a line says so once."""
    monkeypatch.setattr(energy, "_said", set())
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 1).unlink()
    with caplog.at_level("DEBUG", logger=energy.log.name):
        assert rapl_counters(tmp_path) == [] and rapl_counters(tmp_path) == []
    assert caplog.text.count("that of the processors cannot be read") == 1
    assert rapl_counters(tmp_path / "nothing") == [] and EnergyMeter([]).metrics() == {}


def test_a_counter_without_a_span_that_falls_counts_nothing() -> None:
    """NVML's begins at 0 with its driver."""
    values = iter([5.0, 3.0, 4.0])
    counter = Counter(lambda: next(values))
    counter.last = counter.read()
    assert [counter.spent(), counter.spent()] == [0.0, 1.0]
