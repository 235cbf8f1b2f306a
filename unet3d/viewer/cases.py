"""The cases that `unet3d view` shows: one of files, or those of folders, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unet3d.config.schema import ViewConfig
from unet3d.datasets.dicom import is_dicom_folder
from unet3d.datasets.grids import check_same_grid
from unet3d.datasets.image_files import without_suffix
from unet3d.datasets.label_files import Regions, chosen_regions, label_files, read_labels
from unet3d.datasets.volumes import read_header
from unet3d.errors import ConfigError, DataError
from unet3d.inference.scan import stem
from unet3d.machine import cores
from unet3d.metrics import dice_from_counts
from unet3d.progress_bars import case_bar
from unet3d.viewer.case import check_channel, chosen_window

Pairs = dict[tuple[int, int], int]  # (label of the truth, of the prediction): voxels


@dataclass(frozen=True)
class ViewCase:
    """A case to show. settings: those of the command with its files; dice: mean over regions."""

    name: str
    settings: ViewConfig
    dice: float | None = None


def find_cases(settings: ViewConfig) -> list[ViewCase]:
    """The cases in the order in which they are shown.

    In folders, files of one name before .nii.gz belong together; scans may be in files of one
    sequence each, <case>_0000.nii.gz and so on. Each case has the regions of all of them. Raises
    DataError for a folder without cases, a file without its partner, and grids that differ.
    """
    if not Path(settings.pred).is_dir():
        _check_files(settings)
        return [ViewCase(stem(Path(settings.pred)), settings)]
    chosen_window(settings)
    if settings.regions != "labels":
        chosen_regions(settings.regions, [])
    found = _paired(settings)
    for case in found:
        _check_grids(case.settings)
    if settings.truth is None and settings.regions != "labels":
        return found
    pairs: list[Pairs] = []
    with case_bar("compared", len(found)) as advance, ThreadPoolExecutor(cores()) as pool:
        for counted in pool.map(lambda case: _label_pairs(case.settings), found):
            pairs.append(counted)
            advance()
    regions = _regions(settings, pairs)
    cases = []
    for case, counted in zip(found, pairs, strict=True):
        own = replace(case.settings, regions=regions or "labels")
        dice = None if settings.truth is None else _mean_dice(counted, regions)
        cases.append(replace(case, settings=own, dice=dice))
    if settings.truth is None or settings.order == "name":
        return cases
    return sorted(cases, key=lambda case: case.dice or 0.0)  # equal ones by their names


def _check_files(settings: ViewConfig) -> None:
    """What would otherwise be read as something else: paths that do not exist, and folders."""
    for key in ("image", "pred", "truth"):
        path = getattr(settings, key)
        if path is not None and not Path(path).exists():
            raise DataError(f"{key}: {path}: No such file or directory")
    if Path(settings.image).is_dir() and not is_dicom_folder(Path(settings.image)):
        raise ConfigError(
            f"image: {settings.image} is a folder, though pred is a file; name two files or two "
            "folders"
        )


def _paired(settings: ViewConfig) -> list[ViewCase]:
    """The cases of `pred` by their names, with the paths of their files."""
    predictions = label_files(Path(settings.pred))
    truths = None
    if settings.truth is not None:
        _check_folder(Path(settings.truth), "truth")
        truths = label_files(Path(settings.truth))
    images = _images(Path(settings.image))
    cases = []
    for name, prediction in predictions.items():
        image = images.get(name)
        channel = settings.channel
        if image is None and (image := images.get(f"{name}_{channel:04d}")) is not None:
            channel = 0
        if image is None:
            raise DataError(f"{prediction}: {settings.image} has no scan of this name")
        if truths is not None and name not in truths:
            raise DataError(f"{prediction}: {settings.truth} has no label file of this name")
        truth = None if truths is None else str(truths[name])
        files = replace(
            settings, image=str(image), pred=str(prediction), truth=truth, channel=channel
        )
        cases.append(ViewCase(name, files))
    return cases


def _check_folder(path: Path, key: str) -> None:
    if not path.exists():
        raise DataError(f"{key}: {path}: No such file or directory")
    if not path.is_dir() or is_dicom_folder(path):
        raise ConfigError(f"{key}: {path} is not a folder of cases, though pred is one")


def _images(folder: Path) -> dict[str, Path]:
    """{name: path} of the scans of a folder: image files, and folders with a DICOM series."""
    _check_folder(folder, "image")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = without_suffix(path.name)
        if name is None and is_dicom_folder(path):
            name = path.name
        if name is not None:
            found.setdefault(name, path)
    return found


def _check_grids(settings: ViewConfig) -> None:
    """By the headers alone, so that no case fails an hour later."""
    image = Path(settings.image)
    header = read_header(image)
    check_channel(image, header, settings.channel)
    for given in (settings.truth, settings.pred):
        if given is not None:
            path = Path(given)
            check_same_grid(path, read_header(path), image, header, settings.geometry, "geometry")


def _label_pairs(settings: ViewConfig) -> Pairs:
    """How often each pair of labels lies at one voxel; without a truth both are the prediction."""
    prediction = read_labels(Path(settings.pred))[0]
    truth = prediction if settings.truth is None else read_labels(Path(settings.truth))[0]
    code = truth.astype(np.uint16) << 8 | prediction
    counts = np.bincount(code.ravel(order="K"), minlength=1)
    return {(int(i) >> 8, int(i) & 255): int(counts[i]) for i in np.flatnonzero(counts)}


def _regions(settings: ViewConfig, pairs: Sequence[Pairs]) -> Regions:
    """Those of `regions=`; with labels, each label of any case."""
    if settings.regions != "labels":
        return chosen_regions(settings.regions, [])
    values = {value for counted in pairs for pair in counted for value in pair if value}
    return {f"label_{value}": [value] for value in sorted(values)}


def _mean_dice(pairs: Pairs, regions: Regions) -> float:
    """Over the regions, as in the table of a case: 1 where both have nothing."""
    scores = []
    for values in regions.values():
        sizes: Counter[str] = Counter()
        for (truth, prediction), count in pairs.items():
            sizes["truth"] += count * (truth in values)
            sizes["prediction"] += count * (prediction in values)
            sizes["shared"] += count * (truth in values and prediction in values)
        counts = (sizes["shared"], sizes["truth"], sizes["prediction"])
        scores.append(float(dice_from_counts(counts)))
    return float(np.mean(scores)) if scores else 1.0
