"""The smallest training that goes through every part, as overrides of conf/config.yaml."""

from __future__ import annotations

from pathlib import Path

from unet3d.config.compose import compose_config
from unet3d.config.schema import Config


def small_config(output_dir: Path, *overrides: str) -> Config:
    """Four phantoms of 32x32x24 voxels, one epoch, no tracking, everything under `output_dir`."""
    base = ["experiment=smoke", "tracking=none", "validation.overlap=0"]
    return compose_config([*base, f"output_dir={output_dir}", *overrides])
