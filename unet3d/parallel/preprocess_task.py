"""What a node of the cluster does when cases are preprocessed over it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from unet3d.config import DataConfig
from unet3d.data.atomic import remove_stale
from unet3d.data.decathlon import Case, Dataset
from unet3d.data.errors import DataError
from unet3d.data.preprocess import build_or_reuse
from unet3d.data.store import StoredCase
from unet3d.log import collect_lines
from unet3d.training.errors import RunError


@dataclass(frozen=True)
class Work:
    """What each task is sent beside its case; all paths are absolute."""

    dataset: Dataset
    data: DataConfig
    path: Path  # of the store
    job: Path  # a folder in it that exists while this job lasts, to be looked for


@dataclass(frozen=True)
class Built:
    """What a task sends back: the case, or what is wrong with it, and what it had to say."""

    outcome: StoredCase | DataError
    lines: list[tuple[int, str]]  # level and text of each log line


def visit(work: Work) -> str | None:
    """On a node: clear away what dead processes left in the store, and tell `unseen`."""
    remove_stale(work.path / "cases")
    return unseen(work)


def unseen(work: Work) -> str | None:
    """Why this node cannot build cases of the store, by name; None where it can."""
    description = work.dataset.root / "dataset.json"
    for key, folder, there in (
        ("data.root", work.dataset.root, description.is_file()),
        ("data.store", work.path.parent, work.job.is_dir()),
    ):
        if not there:
            return (
                f"{key}: {folder} is not seen by node {os.uname().nodename}; "
                "choose a folder that all nodes share"
            )
    return None


def build_here(work: Work, case: Case) -> Built:
    """The task of a case. Raises RunError on a node that does not see the store or the data."""
    problem = unseen(work)  # of a node that came later
    if problem is not None:
        raise RunError(problem)
    with collect_lines() as lines:
        try:
            outcome: StoredCase | DataError = build_or_reuse(
                work.dataset, case, work.data, work.path
            )
        except DataError as error:
            outcome = error
    return Built(outcome, lines)
