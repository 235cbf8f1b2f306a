"""What `unet3d doctor` reports on a preprocessed data set: table, picture and suggestions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from unet3d.config.schema import AUTO, Config
from unet3d.planning.memory import Memory
from unet3d.planning.patch import format_sizes, plan_patch, planned_volume, step_bytes
from unet3d.planning.rules import choose_batch, largest_batch
from unet3d.preprocessing.auto_spacing import choose_spacing
from unet3d.preprocessing.fingerprint import CaseFingerprint, fingerprint_summary, picture_path
from unet3d.preprocessing.geometry import resampled_shape
from unet3d.preprocessing.store import Store
from unet3d.sampling.split import make_split

AXIS_NAMES = "xyz"


def print_fingerprint(store: Store, cases: Sequence[CaseFingerprint], config: Config) -> None:
    """Print a table of the medians and ranges over the cases."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    found = fingerprint_summary(store, cases, config.data.regions or {})
    table = Table(title=f"fingerprint of {found['cases']} cases", title_justify="left")
    for heading in ("", "median", "from", "to", "share", "cases"):
        table.add_column(heading, justify="left" if heading == "" else "right", overflow="fold")
    for name, key in (
        ("shape, voxels", "shape"),
        ("spacing, mm", "spacing_mm"),
        ("spacing of the files, mm", "file_spacing_mm"),
        ("extent, mm", "extent_mm"),
    ):
        row = [
            format_sizes([round(size, 2) for size in found[key][q]])
            for q in ("median", "min", "max")
        ]
        table.add_row(name, *row)
    table.add_section()
    for channel, figures in found["channels"].items():
        middle, low, high = (figures[k]["median"] for k in ("p50", "p0_5", "p99_5"))
        name = f"{escape(channel)} (mean {figures['mean']:.4g}, sd {figures['sd']:.4g})"
        table.add_row(name, f"{middle:.4g}", f"{low:.4g}", f"{high:.4g}")
    named = {f"{values['values'][0]} {name}": values for name, values in found["labels"].items()}
    for structures in (named, found["regions"]):
        table.add_section()
        for name, figures in structures.items():
            row = [f"{figures['volume_ml'][q]:.4g} ml" for q in ("median", "min", "max")]
            counted = f"{figures['cases']} of {found['cases']}"
            table.add_row(escape(name), *row, f"{figures['share']:.2%}", counted)
    console = Console()
    console = console if console.is_terminal else Console(width=100)
    console.print(table)
    console.print(
        "from, to: the smallest and the largest case; for a channel, percentiles 0.5 and 99.5 in "
        "the foreground, medians over the cases. share: of all voxels of all cases.",
        highlight=False,
    )


def draw_picture(store: Store, cases: Sequence[CaseFingerprint], config: Config) -> str:
    """Draw <store>/fingerprint.png; returns its path, or why it could not be written."""
    from unet3d.doctor.fingerprint_plot import draw_fingerprint

    try:
        return str(draw_fingerprint(store, cases, config.data.regions or {}, picture_path(store)))
    except OSError as error:  # another user's store, read-only here
        return f"{picture_path(store)} cannot be written ({error.strerror})"


def suggestions(
    store: Store,
    cases: Sequence[CaseFingerprint],
    config: Config,
    model: Any,
    memory: Memory,
    replicas: int,
) -> Iterator[tuple[str, str]]:
    """Yields rows on spacing and patch, and last the overrides to copy, for this memory.

    replicas: of all workers together. Raises ConfigError where no patch fits.
    """
    chosen = choose_spacing([case.spacing for case in cases], [case.cropped for case in cases])
    overrides = []
    spacing = f"{format_sizes(chosen.mm)} mm"
    if chosen.coarse is not None:
        spacing += f", {AXIS_NAMES[chosen.coarse]} by nnU-Net's rule for coarse axes"
    if config.data.spacing == AUTO:
        yield "spacing", f"{spacing}, by data.spacing=auto"
    elif chosen.uniform:
        yield "spacing", f"{spacing} in all files: no resampling needed"
        overrides += ["data.spacing=null"] if config.data.spacing else []
    else:
        yield "spacing", f"{spacing}; the spacings of the files differ"
        overrides.append(f"'data.spacing=[{','.join(f'{mm:g}' for mm in chosen.mm)}]'")
    shapes = {c.id: resampled_shape(c.cropped, c.spacing, list(chosen.mm)) for c in cases}
    volume = planned_volume(shapes, make_split(store.cases, config.data, store.source).train)
    step = replicas * config.accumulate
    least = max(step, config.batch_size)
    patch, reason = plan_patch(config, volume, chosen.mm, model, memory, least // step)
    batch = choose_batch(
        least,
        step,
        largest_batch(list(shapes.values()), patch),
        memory.bytes,
        lambda size: step_bytes(config, model, size // step)(patch),
    )
    yield "patch", reason
    overrides = [f"'data.patch=[{','.join(map(str, patch))}]'", f"batch_size={batch}", *overrides]
    yield "suggestion", " ".join(overrides)
