"""The record of a run from its folder: for a store that has lost the run, or a part of it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from unet3d.config.schema import Config, as_dict, flatten
from unet3d.errors import RunError
from unet3d.run_folder import RunFolder
from unet3d.tracking.connection import RUN_TAG, Connection, short
from unet3d.tracking.facts import RunFacts, new_facts, now, read_facts
from unet3d.tracking.failures import may_pass
from unet3d.tracking.keys import VALUE_LIMIT, mlflow_key

log = logging.getLogger(__name__)
DIGEST_LIMIT = 36  # characters of a data set's digest
AT_ONCE = {"params": 100, "metrics": 500}  # MLflow accepts 100 and 1000


def log_params(client: Any, run: str, config: Config, known: Any = ()) -> None:
    """Log the settings, except those of tracking and those `known` to the store."""
    from mlflow.entities import Param

    settings = flatten(as_dict(replace(config, resume=None)))  # as the run was started
    params = [
        Param(mlflow_key(key), str(value)[:VALUE_LIMIT])
        for key, value in settings.items()
        if not key.startswith("tracking.")  # where a run is recorded does not matter
    ]
    _log_batches(client, run, "params", [param for param in params if param.key not in known])


def log_metrics(client: Any, run: str, record: dict[str, Any]) -> None:
    """Log an epoch's metrics; a record sent twice counts once, as it keeps its time."""
    from mlflow.entities import Metric

    # MLflow's pages show first the metric that a run logged first.
    order = sorted(record["metrics"], key=lambda key: key != "val/dice")
    metrics = [
        Metric(mlflow_key(key), record["metrics"][key], record["time"], record["epoch"])
        for key in order
    ]
    _log_batches(client, run, "metrics", metrics)


def log_dataset(client: Any, run: str, dataset: dict[str, str]) -> None:
    """Log a data set, by name, digest, root and cases, as what the run trains on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    described = Dataset(
        name=mlflow_key(dataset["name"]),
        digest=dataset["digest"][:DIGEST_LIMIT],
        source_type="local",
        source=json.dumps({"uri": dataset["root"]}),
        profile=json.dumps({"cases": dataset["cases"]}),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run, [DatasetInput(described, [context])])


def _log_batches(client: Any, run: str, kind: str, entries: list[Any]) -> None:
    size = AT_ONCE[kind]
    for first in range(0, len(entries), size):
        client.log_batch(run, **{kind: entries[first : first + size]})


def create_again(connection: Connection, config: Config, run_id: str, facts: RunFacts) -> str:
    """Create the run `run_id` in a store that lost it; returns the id that the store gives it."""
    facts = facts if facts.tags else replace(new_facts(config), start=facts.start)
    run = connection.client.create_run(
        connection.experiment,
        start_time=facts.start,
        run_name=facts.name,
        tags={**facts.tags, RUN_TAG: run_id},
    )
    log.warning(
        "tracking: %s does not know run %s; it is recorded there again, as %s",
        connection.uri,
        run_id,
        run.info.run_id,
    )
    return str(run.info.run_id)


def reopen(client: Any, run: str) -> None:
    """Let a run that ended be RUNNING again; one that was deleted is restored."""
    try:
        client.update_run(run, status="RUNNING")
    except Exception as error:
        if may_pass(error) or client.get_run(run).info.lifecycle_stage != "deleted":
            raise
        client.restore_run(run)
        log.warning("tracking: run %s was deleted in the store; it is restored", run)
        client.update_run(run, status="RUNNING")


def record_run(
    connection: Connection,
    config: Config,
    folder: RunFolder,
    history: list[dict[str, Any]],
    test: dict[str, float],
) -> str:
    """Record a run, or what the store lacks of it; returns its id in the store.

    history: of its checkpoint, an entry an epoch. test: metrics of its test cases. Doing it again
    changes nothing. Raises RunError where the store does not take all.
    """
    client, facts = connection.client, read_facts(folder)
    try:
        new = connection.run is None
        run = connection.run or create_again(connection, config, folder.run_id, facts)
        stored = client.get_run(run)
        if stored.info.lifecycle_stage == "deleted":
            client.restore_run(run)
        log_params(client, run, config, stored.data.params)
        for key in facts.tags.keys() - stored.data.tags.keys():
            client.set_tag(run, key, facts.tags[key])
        if facts.dataset and not stored.inputs.dataset_inputs:
            log_dataset(client, run, facts.dataset)
        for record in history:
            log_metrics(client, run, record)
        if test and any(mlflow_key(name) not in stored.data.metrics for name in test):
            log_metrics(client, run, {"metrics": test, "time": now(), "epoch": 0})
        failures = _log_files(client, run, folder)
        complete = bool(history) and len(history) >= config.epochs
        _end(client, run, facts, complete, new)
    except Exception as error:
        raise RunError(
            f"run: {folder.run_id} is not wholly recorded in {connection.uri} ({short(error)}); "
            "the same command goes on"
        ) from error
    if failures:
        raise RunError(
            f"run: {len(failures)} files of {folder.path} are not recorded in {connection.uri}, "
            f"among them {failures[0]}; everything else is"
        )
    return run


def _log_files(client: Any, run: str, folder: RunFolder) -> list[str]:
    """Copy the files of a run to its artifacts; returns those that failed, with the reason."""
    failures = []
    for path, artifacts in artifact_files(folder):
        try:
            client.log_artifact(run, str(path), artifacts or None)
        except Exception as error:
            failures.append(f"{path.name} ({short(error)})")
    return failures


def artifact_files(folder: RunFolder) -> list[tuple[Path, str]]:
    """The files of a run that are there, each with its folder among the artifacts."""
    files = [
        (folder.config, "config"),
        (folder.description, "config"),
        (folder.split, "data"),
        (folder.best_weights, "model"),
        (folder.validation_overlays, ""),
        (folder.learning_curves, ""),
        (folder.log, "log"),
    ]
    for path in sorted(folder.test.rglob("*")):
        parts = path.relative_to(folder.test).parent.parts
        files.append((path, "/".join(("test", *parts))))
    return [(path, artifacts) for path, artifacts in files if path.is_file()]


def _end(client: Any, run: str, facts: RunFacts, complete: bool, new: bool) -> None:
    """Set how the run ended; of one that the store knows only what its folder knows better."""
    status = facts.status
    if status == "RUNNING":
        if not new:
            return  # it may be running
        status = "FINISHED" if complete else "KILLED"
    if facts.reason:
        client.set_tag(run, "unet3d.reason", facts.reason[:5000])
    client.set_terminated(run, status, facts.end)
