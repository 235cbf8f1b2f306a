"""Where a run keeps its split: in its folder, and before that was so, elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unet3d.config.schema import Config
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sampling.split import split_name
from unet3d.sampling.split_record import SplitRecord, read_record

log = logging.getLogger(__name__)


def recorded_split(config: Config) -> SplitRecord | None:
    """The record of run `config.resume`; None where it has trained on nothing yet.

    Runs of earlier versions kept it in the tracking store and beside the store of their data.
    Where neither has it, a warning says that the split is made again.
    """
    assert config.resume is not None
    folder = run_folder(config.output_dir, config.resume)
    record = read_record(folder.split)
    if record is not None or not any(folder.checkpoints.glob("*")):
        return record
    for place, found in (
        ("the tracking store", _of_tracking(config, folder)),
        (config.data.store, _of_stores(config)),
    ):
        if found is not None:
            log.warning(
                "data: run %s kept no split in its folder; using the one it kept in %s",
                config.resume,
                place,
            )
            return found
    log.warning(
        "data: run %s kept no split, so that it is made again; if cases were added or removed "
        "since it began, cases that it kept for its test may be among those it trains on",
        config.resume,
    )
    return None


def fetch_record(client: Any, run_id: str, folder: RunFolder) -> bool:
    """Download a run's split from the tracking store to its place; False where it has none."""
    names = [Path(artifact.path).name for artifact in client.list_artifacts(run_id, "data")]
    names = [name for name in names if name.endswith(".json")]
    name = folder.split.name if folder.split.name in names else "".join(names[:1])
    if not name or (len(names) > 1 and name != folder.split.name):
        return False
    fetched = client.download_artifacts(run_id, f"data/{name}", str(folder.path))
    Path(fetched).replace(folder.split)
    return True


def _of_tracking(config: Config, folder: RunFolder) -> SplitRecord | None:
    from unet3d.tracking.connection import connect, short

    try:
        connection = connect(config)
        if connection is None:
            return None
        with TemporaryDirectory() as temporary:
            copy = RunFolder(Path(temporary))
            assert config.resume is not None
            found = fetch_record(connection.client, config.resume, copy)
            return read_record(copy.split) if found else None
    except Exception as error:
        log.warning("data: the tracking store does not give the run's split (%s)", short(error))
        return None


def _of_stores(config: Config) -> SplitRecord | None:
    """The split of these settings beside the stores, where all that have one agree."""
    name = split_name(config.data)
    paths = Path(config.data.store).glob(f"{config.data.name}-*/splits/{name}.json")
    found = {record.split: record for path in paths if (record := read_record(path)) is not None}
    return next(iter(found.values())) if len(found) == 1 else None
