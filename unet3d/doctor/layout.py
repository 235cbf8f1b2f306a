"""The layout of `data.root`, found where no `data=` is typed."""

from __future__ import annotations

from pathlib import Path

from unet3d.config.command_line import expand_home, train_command
from unet3d.datasets.layouts import describe_folder, find_layout
from unet3d.datasets.phantom import SETTINGS
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
    print(f"{'layout':<16} {found.description}; {train_command(complete)}")
    return complete
