"""The layout of `data.root`, found where no `data=` is typed."""

from __future__ import annotations

from pathlib import Path

from unet3d.config.command_line import expand_home, train_command
from unet3d.config.compose import compose_config
from unet3d.datasets.label_names import UnnamedLabels
from unet3d.datasets.layouts import describe_folder, find_layout
from unet3d.datasets.phantom import SETTINGS
from unet3d.datasets.read import read_dataset
from unet3d.errors import DataError


def with_found_layout(overrides: list[str]) -> list[str]:
    """`overrides`, with what the layout of data.root needs; prints it, and how to train on it.

    As they are where `data=` is among them, or where nothing is at data.root. Raises DataError for
    a folder whose layout is not read.
    """
    roots = [text.partition("=")[2] for text in overrides if text.startswith("data.root=")]
    root = Path(expand_home(roots[-1])) if roots else None
    chosen = any(text.startswith("data=") for text in overrides)
    if root is None or chosen or not root.exists() or (root / SETTINGS).exists():
        return overrides
    found = find_layout(root)
    if found is None:
        raise DataError(f"data.root: {root}: {describe_folder(root)}")
    complete = [*found.overrides, *overrides]
    if found.root is not None:
        complete.append(f"data.root={found.root}")
        complete.remove(f"data.root={roots[-1]}")
    complete += _label_names(complete)
    print(f"{'layout':<16} {found.description}; {train_command(complete)}")
    return complete


def _label_names(overrides: list[str]) -> list[str]:
    """data.labels with stand-in names, for a layout that has none; what is typed stays."""
    if any(text.partition("=")[0] in ("data.labels", "data.regions") for text in overrides):
        return []
    data = compose_config(overrides).data
    try:
        read_dataset(data)
    except UnnamedLabels as error:
        names = ",".join(f"{value}:label_{value}" for value in error.values)
        return [f"data.labels={{{names}}}"]
    except DataError:  # the report says what is wrong
        pass
    return []
