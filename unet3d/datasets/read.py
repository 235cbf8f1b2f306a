"""The data set that `data=` names, read as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unet3d.config.schema import DataConfig
from unet3d.datasets.dataset import Dataset


def read_dataset(data: DataConfig) -> Dataset:
    """The cases of data.root, as data.layout says. Raises DataError for one that has another."""
    root, labels = Path(data.root), _label_names(data)
    if data.layout == "nnunet":
        from unet3d.datasets.nnunet import read_nnunet

        return read_nnunet(root, Path(data.splits) if data.splits else None)
    if data.layout == "table":
        from unet3d.datasets.table import read_table

        return read_table(root, labels, data.channels, data.label)
    if data.layout == "folders":
        from unet3d.datasets.folders import read_folders

        return read_folders(root, data.pattern, labels, data.channels, data.label)
    from unet3d.datasets.decathlon import read_decathlon

    return read_decathlon(root)


def with_regions(data: DataConfig, dataset: Dataset | None) -> DataConfig:
    """`data` with the regions that the data set itself names, where data.regions is not set."""
    if data.regions or dataset is None or dataset.regions is None or data.target != "regions":
        return data
    return replace(data, regions=dataset.regions)


def _label_names(data: DataConfig) -> dict[int, str] | None:
    """data.labels; where it is not set, the values of data.regions, by their number."""
    if data.labels:
        return {int(value): str(name) for value, name in data.labels.items()}
    values = {value for given in (data.regions or {}).values() for value in given}
    return {value: f"label {value}" for value in sorted(values)} or None
