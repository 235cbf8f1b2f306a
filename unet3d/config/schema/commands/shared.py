"""Settings of several commands, each written once: a field belongs to one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unet3d.config.allowed import AT_LEAST_0, AT_LEAST_1, BELOW_1, PRECISION, one_of
from unet3d.config.setting import setting


def geometry() -> Any:
    """How exactly files must lie on each other; the same for each command that compares some."""
    return setting(
        "strict",
        "strict: files must lie on each other, within a quarter of a voxel; image: the same shape "
        "is enough",
        one_of("strict", "image"),
    )


def changed(cases: str = "cases") -> Any:
    """What a command does about cases that are not those of a run any more."""
    return setting(
        "refuse",
        f"what is done where {cases} are missing or changed since the run began: end, or accept "
        "what there is now",
        one_of("refuse", "accept"),
    )


def tta() -> Any:
    return setting(False, "mean over the 8 flips")


def overlap() -> Any:
    return setting(0.5, "share of a window that the next one overlaps", BELOW_1)


def windows() -> Any:
    return setting(1, "windows in a forward pass", AT_LEAST_1)


def precision() -> Any:
    return setting("float32", "type of the computation", PRECISION)


def output_dir() -> Any:
    return setting("outputs", "folder of the runs", path=True)


def threads() -> Any:
    return setting(None, "CPU threads of TensorFlow; null: all", AT_LEAST_1)


REGIONS = "labels for each alone, brats, msd_brain, or {name: [values]}"


THRESHOLDS = (
    "probability above which a region is predicted: a number, a list with one for each region, or "
    "{region: number}; auto: what `unet3d tune` has chosen; not for data.target=classes"
)


CONFIGURATION = (
    "of the sweep, as lr=1e-3,model.norm=batch, or ensemble for what `unet3d ensemble` has chosen; "
    "null: that of the highest mean val/dice"
)


@dataclass
class PostprocessConfig:
    """What is done to each predicted region, in this order."""

    fill_holes: bool = setting(False, "fill holes that do not reach the outside")
    min_volume: float = setting(0.0, "mm3 below which connected parts are removed", AT_LEAST_0)
    largest: bool = setting(False, "keep only the largest connected part")
    choice: str = setting(
        "none",
        "also postprocess=auto: instead of the above, what `unet3d tune` has chosen for each "
        "region; or a tuned.json that it wrote",
        path=True,
    )
