"""A segmented case: its files as they are, and ready to be drawn (RAS, cropped, 8-bit grey)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet3d.config.schema import ViewConfig
from unet3d.datasets.grids import check_same_grid
from unet3d.datasets.label_files import Regions, chosen_regions, read_labels
from unet3d.datasets.nifti import Header, to_file_units
from unet3d.datasets.volumes import read_scan
from unet3d.errors import ConfigError
from unet3d.metrics import dice_from_counts
from unet3d.plotting import largest_lesion_centre
from unet3d.preprocessing.background import (
    Box,
    background_value,
    differs,
    fill_enclosed,
    foreground_box,
)
from unet3d.preprocessing.geometry import orient, orientation

PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))  # and the axis that each is cut across
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))  # letters for the two ends of each axis
MARGIN = 2  # voxels kept around the foreground, so that a contour at its edge is closed


@dataclass(frozen=True)
class RegionScore:
    """A region in numbers. dice: None without a truth; ml: its volume in each segmentation."""

    region: str
    dice: float | None
    ml: dict[str, float]


@dataclass(frozen=True)
class ShownCase:
    """Volumes (x, y, z) that run right, anterior and superior, cropped to the foreground.

    files: names of the files of `image`, `truth` and `prediction`; image: uint8, 0 is black;
    segmentations: label values of `truth`, if there is one, and `prediction`; spacing: mm;
    offset: where the crop begins in the reoriented volume of shape `full_shape`; mirrored: the
    patient's right is drawn at the left; window: the values in the file that are black and white.
    """

    files: dict[str, str]
    image: np.ndarray
    segmentations: dict[str, np.ndarray]
    regions: Regions
    spacing: tuple[float, float, float]
    offset: tuple[int, int, int]
    full_shape: tuple[int, int, int]
    mirrored: bool
    window: tuple[float, float]

    def drawn(self, plane: np.ndarray, u: int) -> np.ndarray:
        """A plane whose first axis is `u` of the volume, as it is drawn from left to right."""
        return plane[::-1] if self.mirrored and u == 0 else plane

    def ends(self, axis: int) -> tuple[str, str]:
        """The letters at the left (or bottom) and the right (or top) of an axis as it is drawn."""
        first, last = ENDS[axis]
        return (last, first) if self.mirrored and axis == 0 else (first, last)

    def mask(self, segmentation: str, region: str) -> np.ndarray:
        """Where a segmentation, `truth` or `prediction`, has a region: boolean (x, y, z)."""
        return np.isin(self.segmentations[segmentation], self.regions[region])

    def section(self, segmentation: str, region: str, axis: int, index: int) -> np.ndarray:
        """The slice `index` of `mask` along `axis`: boolean, the two other axes."""
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
        """slice 85 of 155: counted from 1, in the volume before cropping."""
        return f"slice {self.offset[axis] + index + 1} of {self.full_shape[axis]}"

    def scores(self) -> list[RegionScore]:
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
            scores.append(RegionScore(region, dice, ml))
        return scores


@dataclass(frozen=True)
class CaseVolumes:
    """The voxels of a case on the axes of its files.

    paths: of `image`, `truth`, if there is one, and `prediction`; image: (x, y, z), one sequence,
    in the file's own type; header: of the image; segmentations: uint8, on the image's grid.
    """

    paths: dict[str, Path]
    image: np.ndarray
    header: Header
    segmentations: dict[str, np.ndarray]


def read_volumes(settings: ViewConfig) -> CaseVolumes:
    """Read and check the files of a case.

    Raises DataError for a file that is missing, damaged or on another grid than the scan, and
    ConfigError for a channel that does not exist.
    """
    paths = {"image": Path(settings.image)}
    if settings.truth is not None:
        paths["truth"] = Path(settings.truth)
    paths["prediction"] = Path(settings.pred)
    channel, header = _read_channel(paths["image"], settings.channel)
    segmentations: dict[str, np.ndarray] = {}
    for name in list(paths)[1:]:
        labels, label_header = read_labels(paths[name])
        check_same_grid(
            paths[name], label_header, paths["image"], header, settings.geometry, "geometry"
        )
        segmentations[name] = labels
    return CaseVolumes(paths, channel, header, segmentations)


def read_case(settings: ViewConfig) -> ShownCase:
    """Read a case and make it ready to be drawn.

    Raises what `read_volumes` does, and ConfigError for a window or regions that are not possible.
    """
    chosen_window(settings)
    return shown_case(read_volumes(settings), settings)


def shown_case(volumes: CaseVolumes, settings: ViewConfig) -> ShownCase:
    """A case that was read, ready to be drawn."""
    header = volumes.header
    axes, flips = orientation(header.affine)
    segmentations = {
        name: orient(labels, axes, flips) for name, labels in volumes.segmentations.items()
    }
    regions = chosen_regions(settings.regions, list(volumes.paths.values())[1:])
    image = orient(volumes.image, axes, flips)
    head = differs(image, background_value(image))
    box = _with_margin([head, *(labels != 0 for labels in segmentations.values())])
    x, y, z = axes
    values, inside = _values(image[box], header), fill_enclosed(head[box].copy())
    window = chosen_window(settings) or _usual_window(values, inside)
    return ShownCase(
        {name: path.name for name, path in volumes.paths.items()},
        _grey(values, inside, window),
        {name: labels[box] for name, labels in segmentations.items()},
        regions,
        (header.spacing[x], header.spacing[y], header.spacing[z]),
        (box[0].start, box[1].start, box[2].start),
        (header.shape[x], header.shape[y], header.shape[z]),
        settings.convention == "radiological",
        window,
    )


def _read_channel(path: Path, number: int) -> tuple[np.ndarray, Header]:
    voxels, header = read_scan(path)
    check_channel(path, header, number)
    return voxels if voxels.ndim == 3 else voxels[..., number], header


def check_channel(path: Path, header: Header, number: int) -> None:
    """Raise ConfigError where a scan has no sequence of this number."""
    count = header.shape[3] if len(header.shape) == 4 else 1
    if not 0 <= number < count:
        allowed = "0" if count == 1 else f"from 0 to {count - 1}"
        raise ConfigError(f"channel: {number} is not possible; in {path} it must be {allowed}")


def _with_margin(masks: list[np.ndarray]) -> Box:
    """The box around all that is True in any of the masks (x, y, z), with a margin."""
    box = foreground_box(masks) or tuple(slice(0, size) for size in masks[0].shape)
    x, y, z = (
        slice(max(side.start - MARGIN, 0), min(side.stop + MARGIN, size))
        for side, size in zip(box, masks[0].shape, strict=True)
    )
    return x, y, z


def _values(image: np.ndarray, header: Header) -> np.ndarray:
    """In the units of the file: float32, unless that makes all of them 0 or one infinite."""
    values = to_file_units(image, header)
    exact = header.dtype.itemsize <= 4 and header.slope == 1.0
    if exact or (values.any() and np.isfinite(values).all()):
        return values
    return to_file_units(image, header, np.float64)


def chosen_window(settings: ViewConfig) -> tuple[float, float] | None:
    """Black and white of `window=`, None where it is not set. Raises ConfigError."""
    window = settings.window
    if window is None:
        return None
    if len(window) != 2 or not window[0] < window[1]:
        raise ConfigError(
            f"window: {window} is not possible; write [black,white] with black below white"
        )
    return window[0], window[1]


def _usual_window(values: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Percentiles 0.5 and 99.5 of the inside; (0, 1) where it has no finite value."""
    inside = inside & np.isfinite(values)
    if not inside.any():
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values[inside], (0.5, 99.5)))
    return low, high if high > low else low + 1


def _grey(values: np.ndarray, inside: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """uint8: 0 outside; black and white are `window`."""
    low, high = window
    with np.errstate(invalid="ignore"):
        grey = np.clip((values - low) / (high - low) * 255, 0, 255)
    return np.where(inside & np.isfinite(values), np.rint(grey), 0).astype(np.uint8)
