"""Addresses of MLflow's pages, and what they show at first sight.

Everything here is of MLflow's web pages: paths behind `#`, and tags that they read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from unet3d.tracking.keys import mlflow_key

# The experiment holds trainings: MLflow then opens it on its runs, not on its pages for GenAI.
EXPERIMENT_TAGS: Mapping[str, str] = {"mlflow.experimentKind": "custom_model_development"}
TRAINING = "workflowType=machine_learning"  # the same, for a browser that remembers otherwise
DICE = "metrics.`val/dice`"
VIEW_TAG = "mlflow.sharedViewState."  # a view of the table of runs, by the key that follows


def compare_page(runs: Sequence[str], experiment: str) -> str:
    """Where MLflow compares runs: parallel coordinates over what differs, and all tables."""
    ids, experiments = json.dumps(list(runs)), json.dumps([experiment])
    return f"#/compare-runs?runs={quote(ids)}&experiments={quote(experiments)}&{TRAINING}"


def runs_page(experiment: str, view: str) -> str:
    """The table of an experiment's runs, as `view` shows it."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={quote(view)}&{TRAINING}"


def show_columns(
    client: Any, experiment: str, view: str, swept: Iterable[str] = (), parent: str | None = None
) -> None:
    """Keep a view of the table of runs: val/dice first, then what was swept.

    swept: keys of settings. parent: of the runs that are shown, best first; None: all, newest
    first. A tag of the experiment holds the view, as MLflow's own button Share does.
    """
    columns = [DICE, *(f"params.`{mlflow_key(name)}`" for name in swept)]
    state: dict[str, Any] = {"selectedColumns": columns}
    if parent is not None:
        state["searchFilter"] = f"tags.`mlflow.parentRunId` = '{parent}'"
        state |= {"orderByKey": DICE, "orderByAsc": False}
    client.set_experiment_tag(experiment, VIEW_TAG + view, json.dumps(state))


def mark_as_training(client: Any, experiment: Any) -> None:
    """Mark an experiment that was made without its kind; one with another kind keeps it."""
    for key, value in EXPERIMENT_TAGS.items():
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)
