"""A segmented case as it is drawn: files read, checked, turned to RAS, cropped, in grey."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet3d.config import ConfigError, ViewConfig
from unet3d.data.geometry import orient, orientation
from unet3d.data.standardise import background_value, foreground_box
from unet3d.data.volume import Header, read_scan, scaled
from unet3d.evaluation.labels import Regions, chosen_regions, read_labels
from unet3d.inference.scan import check_same_grid
from unet3d.metrics import dice_from_counts
from unet3d.visualize import largest_lesion_centre

PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))  # the axis that each looks along
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))  # of each axis, as printed on the pictures
MARGIN = 2  # voxels left around the head, so that a contour at its edge is closed
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Score:
    """A region in numbers. dice: None without a truth; ml: volume of each segmentation."""

    region: str
    dice: float | None
    ml: dict[str, float]


@dataclass(frozen=True)
class ShownCase:
    """Volumes (x, y, z) towards right, anterior and superior, cropped to what is not background.

    files: names of `image`, `truth` and `prediction`; image: uint8, 0 black; segmentations: label
    values of truth, if there is one, and prediction; spacing: mm; offset: of the crop's first
    voxel in the turned volume of shape `whole`.
    """

    files: dict[str, str]
    image: np.ndarray
    segmentations: dict[str, np.ndarray]
    regions: Regions
    spacing: tuple[float, float, float]
    offset: tuple[int, int, int]
    whole: tuple[int, int, int]

    def mask(self, segmentation: str, region: str) -> np.ndarray:
        """Where a segmentation, `truth` or `prediction`, holds a region: boolean (x, y, z)."""
        return np.isin(self.segmentations[segmentation], self.regions[region])

    def section(self, segmentation: str, region: str, axis: int, index: int) -> np.ndarray:
        """One slice of `mask`, across `axis`: boolean, the two other axes."""
        plane = np.moveaxis(self.segmentations[segmentation], axis, 0)[index]
        return np.isin(plane, self.regions[region])

    def centre(self) -> tuple[int, ...]:
        """The voxel in the middle of the largest lesion of the truth, else of the prediction."""
        values = [value for region in self.regions.values() for value in region]
        for labels in self.segmentations.values():
            if (lesions := np.isin(labels, values)).any():
                return largest_lesion_centre(lesions)
        return largest_lesion_centre(np.zeros(self.image.shape, bool))

    def slice_name(self, axis: int, index: int) -> str:
        """slice 85 of 155: counted from 1, in the whole volume."""
        return f"slice {self.offset[axis] + index + 1} of {self.whole[axis]}"

    def scores(self) -> list[Score]:
        """Dice and volumes of each region; Dice is 1 where both segmentations are empty."""
        voxel_ml = float(np.prod(self.spacing)) / 1000
        scores = []
        for region in self.regions:
            masks = {name: self.mask(name, region) for name in self.segmentations}
            counts = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
            dice = None
            if "truth" in masks:
                shared = np.count_nonzero(masks["truth"] & masks["prediction"])
                dice = float(dice_from_counts((shared, counts["truth"], counts["prediction"])))
            ml = {name: count * voxel_ml for name, count in counts.items()}
            scores.append(Score(region, dice, ml))
        return scores


def read_case(settings: ViewConfig) -> ShownCase:
    """Read and check the files of a case.

    Raises DataError for a file that is missing, damaged or of another grid than the scan, and
    ConfigError for a channel, a window or regions that cannot be.
    """
    paths = {"image": Path(settings.image)}
    if settings.truth is not None:
        paths["truth"] = Path(settings.truth)
    paths["prediction"] = Path(settings.pred)
    window = _window(settings)
    channel, header = _read_channel(paths["image"], settings.channel)
    axes, flips = orientation(header.affine)
    segmentations: dict[str, np.ndarray] = {}
    for name in list(paths)[1:]:
        labels, own = read_labels(paths[name])
        check_same_grid(paths[name], own, paths["image"], header)
        segmentations[name] = orient(labels, axes, flips)
    regions = chosen_regions(settings.regions, list(paths.values())[1:])
    image = orient(channel, axes, flips)
    box = _box([image, *segmentations.values()])
    x, y, z = axes
    return ShownCase(
        {name: path.name for name, path in paths.items()},
        _grey(scaled(image[box], header), _inside(image, box), window),
        {name: labels[box] for name, labels in segmentations.items()},
        regions,
        (header.spacing[x], header.spacing[y], header.spacing[z]),
        (box[0].start, box[1].start, box[2].start),
        (header.shape[x], header.shape[y], header.shape[z]),
    )


def _read_channel(path: Path, number: int) -> tuple[np.ndarray, Header]:
    voxels, header = read_scan(path)
    channels = voxels if voxels.ndim == 4 else voxels[..., np.newaxis]
    count = channels.shape[3]
    if not 0 <= number < count:
        allowed = "0" if count == 1 else f"from 0 to {count - 1}"
        raise ConfigError(f"channel: {number} is not possible; in {path} it must be {allowed}")
    return channels[..., number], header


def _box(volumes: list[np.ndarray]) -> Box:
    """What is not background in any of the volumes, lesions outside the head too."""
    box = foreground_box(volumes) or tuple(slice(0, size) for size in volumes[0].shape)
    x, y, z = (
        slice(max(side.start - MARGIN, 0), min(side.stop + MARGIN, size))
        for side, size in zip(box, volumes[0].shape, strict=True)
    )
    return x, y, z


def _inside(image: np.ndarray, box: Box) -> np.ndarray:
    """Where a box holds no background; everywhere unless all corners of the image are background.

    A CT has its 0 inside the body alone.
    """
    background = image.dtype.type(background_value(image))
    surrounded = (image[np.ix_(*[(0, -1)] * 3)] == background).all()
    if surrounded:
        return image[box] != background
    return np.ones(image[box].shape, bool)


def _window(settings: ViewConfig) -> tuple[float, float] | None:
    window = settings.window
    if window is None:
        return None
    if len(window) != 2 or not window[0] < window[1]:
        raise ConfigError(f"window: {window} is not possible; write [black,white], black below")
    return window[0], window[1]


def _grey(values: np.ndarray, inside: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """uint8: 0 outside; black and white are `window`, else the 0.5th and 99.5th percentile."""
    inside = inside & np.isfinite(values)
    if not inside.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[inside], (0.5, 99.5)) if window is None else window
    with np.errstate(invalid="ignore"):
        grey = np.clip((values - low) * (255 / max(high - low, 1e-6)), 0, 255)
    return np.where(inside, np.rint(grey), 0).astype(np.uint8)
