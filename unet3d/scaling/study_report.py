"""The results of a study: a table, CSV and JSON, speed-ups, where the time went, one page."""

from __future__ import annotations

import base64
import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from unet3d.errors import RunError
from unet3d.files import write_text
from unet3d.html import render
from unet3d.planning.gantt import clock, table
from unet3d.plotting import figure, save_png
from unet3d.scaling.plots import draw_speedup

HEADINGS = ("devices", "parallelism", "time", "spread", "speed-up", "efficiency", "patches/s")
FORECAST = "forecast (simulated)"

FILES = ("table.csv", "results.json", "speedup.png", "speedup.pdf", "time.png", "index.html")


@dataclass(frozen=True)
class CellResult:
    """A cell as it was measured. parts: seconds of all of its runs together, by perf/<part>_s."""

    mode: str
    devices: int
    repeat: int
    seconds: float
    trials: int
    patches_per_s: float
    parts: Mapping[str, float]
    runs: Sequence[str] = ()  # their ids
    forecast: float | None = None  # simulated seconds


@dataclass(frozen=True)
class StudyFacts:
    """What a study is of, which all of its parts have in common.

    machine: in words; device: the kind of one device, such as a GPU's name.
    """

    name: str
    overrides: Sequence[str]
    trials: int
    fraction: float
    weak: bool
    machine: str
    device: str = ""

    def command(self, results: Sequence[CellResult]) -> str:
        """What measures it elsewhere, and prints it again where it was measured."""
        modes = dict.fromkeys(one.mode for one in results)
        parts = [
            *self.overrides,
            f"devices={','.join(map(str, sorted({one.devices for one in results})))}",
            f"modes={','.join(modes)}",
            f"scaling.trials={self.trials}",
            f"scaling.weak={str(self.weak).lower()}",
            f"scaling.name={self.name}",
        ]
        parts += [f"scaling.fraction={self.fraction:g}"] if self.fraction != 1 else []
        repeats = 1 + max(one.repeat for one in results)
        parts += [f"scaling.repeats={repeats}"] if repeats > 1 else []
        return shlex.join(["unet3d", "scaling", *parts])


@dataclass(frozen=True)
class Measured:
    """The repeats of a cell. spread: of their times, as a share of the median; None of one."""

    devices: int
    parallelism: str
    seconds: float
    spread: float | None
    speedup: float
    patches_per_s: float
    parts: Mapping[str, float]
    forecast: float | None = None

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        return (
            str(self.devices),
            self.parallelism,
            clock(self.seconds),
            "-" if self.spread is None else f"{self.spread:.0%}",
            f"{self.speedup:.2f}",
            f"{self.speedup / self.devices:.0%}",
            f"{self.patches_per_s:.3g}",
            "-" if self.forecast is None else clock(self.forecast),
        )


def summarised(results: Sequence[CellResult]) -> list[Measured]:
    """A row for each mode and number of devices; speed-ups against one device.

    Raises RunError where nothing was measured on one device.
    """
    alone = [r.seconds for r in results if r.devices == 1]
    if not alone:
        raise RunError("scaling: nothing is measured on one device; add 1 to devices=")
    base = median(alone)
    groups: dict[tuple[int, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault((result.devices, result.mode), []).append(result)
    rows = []
    for (devices, mode), each in sorted(groups.items()):
        seconds = [one.seconds for one in each]
        middle = median(seconds)
        parts = {part: median([one.parts[part] for one in each]) for part in each[0].parts}
        rows.append(
            Measured(
                devices,
                mode,
                middle,
                (max(seconds) - min(seconds)) / middle if len(seconds) > 1 else None,
                base / middle,
                median(one.patches_per_s for one in each),
                parts,
                next((one.forecast for one in each if one.forecast is not None), None),
            )
        )
    return rows


def print_table(results: Sequence[CellResult]) -> None:
    """What is measured so far."""
    if any(result.devices == 1 for result in results):
        print("\n".join(table(_rows_shown(summarised(results)))))


def _rows_shown(rows: Sequence[Measured]) -> list[tuple[str, ...]]:
    """Headings and cells; without the forecasts where there are none."""
    shown = [(*HEADINGS, FORECAST), *(row.cells() for row in rows)]
    known = any(row.forecast is not None for row in rows)
    return shown if known else [row[:-1] for row in shown]


def write_study(results: Sequence[CellResult], folder: Path, facts: StudyFacts) -> list[Path]:
    """table.csv, results.json, speedup.png and .pdf, time.png and index.html; returns them."""
    rows = summarised(results)
    text = io.StringIO()
    fields = [key for key in asdict(rows[0]) if key != "parts"] + list(rows[0].parts)
    fields.append("device")
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        writer.writerow({**values.pop("parts"), **values, "device": facts.device})
    write_text(folder / "table.csv", text.getvalue())
    content = {**asdict(facts), "rows": [asdict(row) for row in rows]}
    write_text(folder / "results.json", json.dumps(content, indent=1))
    scaled = "batch of a replica fixed" if facts.weak else "global batch fixed"
    title = f"{facts.trials} trials, measured; {scaled}"
    draw_speedup(rows, folder, title)
    draw_parts(rows, folder / "time.png", title)
    pictures = [
        base64.b64encode((folder / name).read_bytes()).decode("ascii")
        for name in ("speedup.png", "time.png")
    ]
    headings, *cells = _rows_shown(rows)
    page = render(
        "scaling/study.html",
        name=facts.name,
        title_line=title,
        machine=facts.machine,
        device=facts.device,
        command=facts.command(results),
        headings=headings,
        rows=cells,
        pictures=pictures,
    )
    write_text(folder / "index.html", page)
    return [folder / name for name in FILES]


def draw_parts(rows: Sequence[Measured], path: Path, title: str) -> None:
    """Stacked bars: the seconds of all runs of a cell, by what they were spent on."""
    picture = figure(figsize=(3.0 + 1.1 * len(rows), 4.5), layout="constrained")
    axis = picture.subplots()
    names = [f"{row.parallelism}\n{_devices(row.devices)}" for row in rows]
    bottom = [0.0] * len(rows)
    for part in rows[0].parts:
        heights = [row.parts[part] for row in rows]
        if any(heights):
            axis.bar(names, heights, bottom=bottom, label=part)
            bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axis.set_ylabel("s, all runs together")
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8, reverse=True, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_png(picture, path)


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"
