"""What a run keeps of its data: its split and the content of every case, for resume and evaluate.

The data set may grow or change meanwhile; a run's split is the one that it began with.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unet3d.config.schema import Config
from unet3d.datasets.dataset import Dataset
from unet3d.errors import DataError, RunError
from unet3d.files import read_text, write_text
from unet3d.preprocessing.store import Store
from unet3d.run_folder import run_folder
from unet3d.sampling.split import Split

log = logging.getLogger(__name__)
ACCEPT = "data.changed=accept"
NAMED = 5  # cases in a message


@dataclass(frozen=True)
class SplitRecord:
    """A run's split.

    inputs: the identity of each case's files, by its id; empty in records of earlier versions.
    digest: of the whole data set. steps_per_epoch: 0 where it is not recorded. accepted: what
    differed when data.changed=accept was typed. weights: of the training cases that are not drawn
    as often as most, by a table's column; None where earlier versions did not record it.
    """

    split: Split
    inputs: Mapping[str, str]
    digest: str = ""
    steps_per_epoch: int = 0
    accepted: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None

    def of_today(self, cases: Iterable[str], differ: str, store: Store) -> SplitRecord:
        """The record from now on, where `differ` was accepted of `cases`.

        The digest stays that of the run's start otherwise; a record of an earlier version gets
        today's identities.
        """
        cases = set(cases)
        weights = train_weights(store.source, self.split)
        if not self.inputs:
            return replace(self, inputs=store.inputs, digest=store.digest, weights=weights)
        if not differ:
            return self if self.weights is not None else replace(self, weights=weights)
        lost = cases - store.cases.keys()
        parts = (self.split.train, self.split.val, self.split.test)
        return replace(
            self,
            split=Split(*(tuple(c for c in part if c not in lost) for part in parts)),
            inputs={**self.inputs, **{c: store.inputs[c] for c in sorted(cases - lost)}},
            digest=store.digest,
            accepted=(*self.accepted, differ),
            weights={case: weight for case, weight in weights.items() if case not in lost},
        )


def differences(
    before: Mapping[str, str], now: Mapping[str, str], cases: Iterable[str] | None = None
) -> str:
    """How data differ, by the identity of each case: "" or "changed a, b; missing c; new d".

    cases: to compare; None: those of `before`. A case without an identity before counts as equal.
    """
    found: dict[str, list[str]] = {"changed": [], "missing": [], "new": []}
    for case in sorted(before if cases is None else cases):
        if not now.get(case):
            found["missing"].append(case)
        elif case not in before:
            found["new"].append(case)
        elif before[case] not in ("", now[case]):
            found["changed"].append(case)
    return "; ".join(f"{word} {listed(names)}" for word, names in found.items() if names)


def new_record(split: Split, store: Store) -> SplitRecord:
    """That of a run at its first start."""
    weights = train_weights(store.source, split)
    return SplitRecord(split, store.inputs, store.digest, weights=weights)


def train_weights(dataset: Dataset | None, split: Split) -> dict[str, float]:
    """The weights of the training cases that have one other than 1."""
    given = {case.id: case.weight for case in dataset.cases} if dataset else {}
    return {case: given[case] for case in split.train if given.get(case, 1.0) != 1}


def weight_changes(record: SplitRecord, dataset: Dataset) -> str:
    """Which training cases are drawn more or less often than before: "" or "weight of a: 3, was 1".

    A case that is missing is named as such elsewhere.
    """
    if record.weights is None:
        return ""
    now = train_weights(dataset, record.split)
    there = {case.id for case in dataset.cases}
    changes = [
        f"{case}: {now.get(case, 1.0):g}, was {record.weights.get(case, 1.0):g}"
        for case in record.split.train
        if case in there and now.get(case, 1.0) != record.weights.get(case, 1.0)
    ]
    return f"weight of {listed(changes)}" if changes else ""


def write_record(path: Path, record: SplitRecord) -> None:
    """Write it, where the file says something else."""
    fields: dict[str, Any] = {
        "digest": record.digest,
        "steps_per_epoch": record.steps_per_epoch,
        "accepted": record.accepted,
        **asdict(record.split),
        "cases": dict(record.inputs),
    }
    if record.weights is not None:
        fields["weights"] = dict(record.weights)
    text = json.dumps(fields, indent=1)
    if read_text(path) != text:
        write_text(path, text)


def read_record(path: Path) -> SplitRecord | None:
    """The record in a file, also in one of earlier versions; None where there is none.

    Raises RunError for a file that cannot be read.
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
        weights = found.get("weights")
        return SplitRecord(
            Split(*(tuple(map(str, found[part])) for part in ("train", "val", "test"))),
            {str(case): str(identity) for case, identity in found.get("cases", {}).items()},
            str(found.get("digest", "")),
            int(found.get("steps_per_epoch", 0)),
            tuple(found.get("accepted", ())),
            None if weights is None else {str(c): float(weight) for c, weight in weights.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: the run's split cannot be read ({error}); put back the file, of which the "
            "tracking store has a copy in the artifact folder data"
        ) from error


def check_cases(
    record: SplitRecord,
    cases: Iterable[str],
    found: Mapping[str, str],
    config: Config,
    accept: str = ACCEPT,
    weights: str = "",
) -> str:
    """What differs of `cases` between the record and today's data, where that is accepted.

    found: the identity of today's cases; weights: what `weight_changes` finds. Raises DataError
    unless nothing differs or data.changed is `accept`. accept: what to type for that.
    """
    before = {case: record.inputs.get(case, "") for case in cases}
    differ = "; ".join(filter(None, (differences(before, found), weights)))
    if differ and config.data.changed != "accept":
        raise DataError(
            f"data.root: {config.data.root} is not as it was when run {config.resume} began: "
            f"{differ}; put back what it was, or type {accept} to go on with what there is now"
        )
    return differ


def log_changes(record: SplitRecord, differ: str, cases: Iterable[str], config: Config) -> None:
    """A line for what was accepted, and one for the cases that were added since the run began."""
    if differ:
        log.warning("data: accepted as it is now: %s since run %s began", differ, config.resume)
    parts = (record.split.train, record.split.val, record.split.test)
    new = sorted(set(cases).difference(*parts))
    if new:
        log.info(
            "data: left out, as they are in no part of the split of run %s: %s",
            config.resume,
            listed(new),
        )


def check_description(dataset: Dataset, config: Config, accept: str = ACCEPT) -> None:
    """DataError where sequences or labels are others than those that the run was trained on."""
    assert config.resume is not None
    text = read_text(run_folder(config.output_dir, config.resume).description)
    if text is None or config.data.changed == "accept":
        return
    before, now = json.loads(text), description(dataset.channels, dataset.labels)
    for key in now:
        if before.get(key) != now[key]:
            raise DataError(
                f"{dataset.description}: {key!r} is {now[key]}, and was "
                f"{before.get(key)} when run {config.resume} began; put it back, or type {accept}"
            )


def description(channels: Iterable[str], labels: Mapping[int, str]) -> dict[str, Any]:
    """Sequences and labels in the Decathlon's format."""
    return {
        "modality": {str(index): name for index, name in enumerate(channels)},
        "labels": {"0": "background"} | {str(value): name for value, name in labels.items()},
    }


def listed(names: list[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
