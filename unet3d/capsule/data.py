"""The data of a capsule: digests by which the same data are known elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unet3d.config.schema import Config
from unet3d.datasets.dataset import Dataset
from unet3d.datasets.read import read_dataset
from unet3d.errors import ConfigError, DataError
from unet3d.preprocessing.store_key import case_identities, digest, input_identity
from unet3d.sampling.split_record import SplitRecord, differences

log = logging.getLogger(__name__)


def described_data(config: Config, record: SplitRecord, store_key: str) -> dict[str, Any]:
    """What the run has trained on: name, digests of the whole, of each case and of each file.

    Files are listed where the data are still there, and what they were.
    """
    described: dict[str, Any] = {
        "name": config.data.name,
        "digest": record.digest,
        "store": store_key,
        "cases": dict(record.inputs),
    }
    files = _files(config, record)
    return described | ({"files": files} if files else {})


def _files(config: Config, record: SplitRecord) -> list[list[Any]]:
    """[path, bytes, checksum] of each file, as a store is known by; [] where that is not known."""
    try:
        identity = input_identity(read_dataset(config.data))
    except (DataError, ConfigError) as error:
        log.info("capsule: the digest of each case, not of each file: %s", error)
        return []
    now = case_identities(identity)
    if differ := differences(record.inputs, now, {*record.inputs, *now}):
        log.warning(
            "capsule: the data in %s are not as they were when the run began (%s); the capsule "
            "has the digests of then, by case",
            config.data.root,
            differ,
        )
        return []
    return sorted(file for _, *files in identity for file in files)


def check_data(
    root: str, before: Mapping[str, Any], dataset: Dataset, inputs: Mapping[str, str]
) -> None:
    """Raise DataError where the data in `root` are not those of a capsule, `before`.

    inputs: the identity of each case now.
    """
    cases: Mapping[str, str] = before["cases"]
    differ = differences(cases, inputs, {*cases, *inputs})
    if not differ:
        return
    now = digest(input_identity(dataset))
    raise DataError(
        f"data.root: {root} does not hold the data of the capsule: {differ}; their digest is "
        f"{now[:12]}, and was {str(before['digest'])[:12]}; type data.root=<folder> for those of "
        "the capsule"
    )


def check_there(config: Config, typed: bool) -> None:
    """Raise ConfigError where the folder of the data is missing, before any work.

    typed: whether it was; phantoms are written to their own folder, but not to another.
    """
    made = config.data.phantom is not None and not typed
    if not made and not Path(config.data.root).exists():
        raise ConfigError(
            f"data.root: {config.data.root} does not exist here; type data.root=<folder> for the "
            "data that the run has trained on"
        )
