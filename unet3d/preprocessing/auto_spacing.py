"""data.spacing=auto: what nnU-Net would resample a data set to (Isensee et al. 2021)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config.schema import AUTO, DataConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.datasets.volumes import read_header, read_voxels, sequences
from unet3d.errors import DataError
from unet3d.files import write_text
from unet3d.machine import cores
from unet3d.preprocessing.background import background_value, differs, foreground_box
from unet3d.preprocessing.geometry import orientation

log = logging.getLogger(__name__)
ANISOTROPIC = 3.0  # ratio of spacings, and of sizes, from which an axis counts as coarse
COARSE_PERCENTILE = 10  # of a coarse axis' spacings; the median would lose thin slices
DIGITS = 16  # of the digest of the inputs, in the name of the file with what was chosen
AXES = "xyz"


@dataclass(frozen=True)
class Spacing:
    """A spacing to resample to, in mm.

    coarse: the axis that nnU-Net's rule for coarse axes changed, if any; uniform: whether every
    case already has this spacing.
    """

    mm: tuple[float, ...]
    coarse: int | None
    uniform: bool


def with_spacing(
    data: DataConfig, dataset: Dataset, inputs: str, *, read: bool = True
) -> DataConfig | None:
    """`data` with the lengths that data.spacing=auto stands for; as it is with other settings.

    inputs: the digest of the data set's files, for which the choice is kept beside the stores.
    Every case counts, as in nnU-Net; one that cannot be read is left to the checks that follow.
    read: whether volumes may be read where the rule needs sizes; else None is returned for those.
    """
    if data.spacing != AUTO:
        return data
    path = Path(data.store) / f"{data.name}-{inputs[:DIGITS]}.spacing.json"
    found = _kept(path)
    if found is None:
        found = _measured(dataset, data.workers or cores(), read)
        if found is None:
            return None
        _keep(path, found)
    lengths = "x".join(f"{mm:g}" for mm in found.mm)
    why = "the median of all cases"
    if found.coarse is not None:
        why += f", {AXES[found.coarse]} by nnU-Net's rule for coarse axes"
    log.info("data.spacing=auto: %s mm, %s", lengths, why)
    return replace(data, spacing=list(found.mm))


def _measured(dataset: Dataset, workers: int, read: bool) -> Spacing | None:
    """The spacing by the headers, and where they make an axis coarse by the cropped sizes."""
    with ThreadPoolExecutor(workers, thread_name_prefix="spacing") as pool:

        def each(measure: Callable[[Dataset, Case], Any]) -> list[Any]:
            found = pool.map(lambda case: _readable(measure, dataset, case), dataset.cases)
            return [one for one in found if one is not None]

        spacings = each(_stored_spacing)
        if not spacings:  # all are reported with the reason when they are preprocessed
            return Spacing((1.0, 1.0, 1.0), None, True)
        median = np.sort(np.median(spacings, axis=0))
        if median[-1] <= ANISOTROPIC * median[-2]:
            return choose_spacing(spacings, [(1, 1, 1)])  # no axis is coarse, whatever the sizes
        if not read:
            return None
        log.info("data.spacing=auto: reads %d cases, as an axis may be coarse", len(dataset.cases))
        return choose_spacing(spacings, each(_cropped_size) or [(1, 1, 1)])


def _readable(measure: Callable[[Dataset, Case], Any], dataset: Dataset, case: Case) -> Any:
    try:
        return measure(dataset, case)
    except DataError:
        return None


def _stored_spacing(dataset: Dataset, case: Case) -> list[float]:
    """mm along x, y and z."""
    header = read_header(dataset.images(case)[0])
    axes, _ = orientation(header.affine)
    return [header.spacing[axis] for axis in axes]


def _cropped_size(dataset: Dataset, case: Case) -> tuple[int, ...] | None:
    """Voxels along x, y and z of what is not background in any sequence."""
    paths = dataset.images(case)
    axes, _ = orientation(read_header(paths[0]).affine)
    channels = [part for path in paths for part in sequences(read_voxels(path)[0])]
    box = foreground_box(differs(part, background_value(part)) for part in channels)
    return None if box is None else tuple(box[axis].stop - box[axis].start for axis in axes)


def _kept(path: Path) -> Spacing | None:
    try:
        found = json.loads(path.read_text())
        return Spacing(tuple(map(float, found["mm"])), found["coarse"], found["uniform"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path, found: Spacing) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(found)))
    except OSError as error:  # a folder of stores that is read-only here
        log.warning("data: %s was not written (%s)", path, error.strerror)


def choose_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]) -> Spacing:
    """The median spacing, or for a coarse axis its tenth percentile.

    spacings, shapes: (cases, 3), mm and voxels.

    An axis is coarse, as in nnU-Net, where its median spacing is more than three times that of
    the others and its median size less than a third of theirs.
    """
    table, sizes = np.asarray(spacings, dtype=float), np.median(np.asarray(shapes), axis=0)
    target = np.median(table, axis=0)
    axis = int(np.argmax(target))
    others = [other for other in range(3) if other != axis]
    finest = max(target[others])
    coarse = bool(
        target[axis] > ANISOTROPIC * finest and sizes[axis] * ANISOTROPIC < min(sizes[others])
    )
    if coarse:
        target[axis] = max(np.percentile(table[:, axis], COARSE_PERCENTILE), finest)
    mm = tuple(round(float(length), 4) for length in target)
    return Spacing(mm, axis if coarse else None, bool(np.allclose(table, mm, atol=1e-3)))
