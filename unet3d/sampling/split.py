"""Which cases train, validate and test: a seeded split by case, optionally in k folds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unet3d.config.schema import DataConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.errors import ConfigError


@dataclass(frozen=True)
class Split:
    """Case ids of each part, sorted; no case is in two parts."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def make_split(case_ids: Iterable[str], data: DataConfig, dataset: Dataset | None = None) -> Split:
    """As `_whole_split`, with the share data.train_share of its training cases, at least one."""
    split = _whole_split(case_ids, data, dataset)
    if data.train_share == 1:
        return split
    cases = {case.id: case for case in dataset.cases} if dataset else {}
    groups = _shuffled_groups(split.train, cases, data)
    kept = _ids(_first(groups, max(1, round(data.train_share * len(split.train))))[0])
    return replace(split, train=tuple(sorted(kept)))


def _whole_split(
    case_ids: Iterable[str], data: DataConfig, dataset: Dataset | None = None
) -> Split:
    """Split by `data.split`; with `data.folds`, the cases outside the test part form the folds.

    Where `dataset` itself names parts or folds of its cases, these count. Cases of one group stay
    together. Depends only on the set of ids and data.split_seed, not on the order of the ids.
    Raises ConfigError for impossible fractions or folds.
    """
    cases = {case.id: case for case in dataset.cases} if dataset else {}
    ids = sorted(set(case_ids))
    if data.fold is not None and dataset is not None and dataset.folds:
        return _given_fold(ids, data, dataset)
    listed = {id: cases[id].part for id in ids if id in cases and cases[id].part}
    drawn = [id for id in ids if id not in listed]
    groups = _shuffled_groups(drawn if listed else ids, cases, data)
    if listed:
        parts = _listed_parts(listed, groups, data)
    else:
        counts = _part_sizes(len(ids), data)
        test, rest = _first(groups, counts[2])
        parts = {"test": test, "rest": rest, "val": _first(rest, counts[1])[0]}
    rest, test = parts["rest"], parts["test"]
    own_folds = {id: fold for id in ids if id in cases and (fold := cases[id].fold) is not None}
    if data.fold is not None and own_folds:
        val = _own_fold(own_folds, data)
    elif data.folds is not None:
        val = set(_ids(rest[_checked_fold(data, len(rest)) :: data.folds]))
    elif data.fold is not None:
        raise ConfigError(f"data.fold: {data.fold} needs data.folds, the number of folds")
    else:
        val = set(_ids(parts["val"]))
    train = set(_ids(rest)) - val
    val -= set(_ids(test))
    if not train or not val:
        raise ConfigError(
            f"data.split: no case is left to {'validate' if train else 'train'} on; the groups of "
            f"cases, {len(groups)}, are too few or too unequal, or the data set's own parts lack it"
        )
    return Split(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(_ids(test))))


Groups = list[list[str]]  # ids of cases that stay together


def _shuffled_groups(ids: Sequence[str], cases: Mapping[str, Case], data: DataConfig) -> Groups:
    groups: dict[str, list[str]] = {}
    for id in ids:
        group = cases[id].group if id in cases else ""
        groups.setdefault(f"group {group}" if group else id, []).append(id)
    names = sorted(groups)
    seed = np.random.SeedSequence([data.split_seed])
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(names))
    return [groups[names[index]] for index in order]


def _first(groups: Groups, count: int) -> tuple[Groups, Groups]:
    """The first groups, of about `count` cases, and the others."""
    taken, total = 0, 0
    for group in groups:
        if total >= count or (total and total + len(group) - count > count - total):
            break
        taken, total = taken + 1, total + len(group)
    return groups[:taken], groups[taken:]


def _ids(groups: Groups) -> list[str]:
    return [id for group in groups for id in group]


def _listed_parts(listed: Mapping[str, str], drawn: Groups, data: DataConfig) -> dict[str, Groups]:
    """Parts as the data set lists them; cases without a part are trained on.

    Where it lists no case to validate on, data.split's share of those to train on is drawn.
    """
    parts: dict[str, Groups] = {"train": list(drawn), "val": [], "test": []}
    for id, part in listed.items():
        parts[part].append([id])
    val = parts["val"]
    rest = [*parts["train"], *val]
    if not val:
        share = data.split.val / (data.split.train + data.split.val or 1)
        val = _first(rest, max(1, round(share * len(_ids(rest)))))[0]
    return {"test": parts["test"], "rest": rest, "val": val}


def _own_fold(folds: Mapping[str, int], data: DataConfig) -> set[str]:
    count = max(folds.values()) + 1
    _check_own_folds(data, count, "its list of cases")
    return {id for id, fold in folds.items() if fold == data.fold}


def _given_fold(ids: Sequence[str], data: DataConfig, dataset: Dataset) -> Split:
    """A fold of the data set's own; cases that are in none of its parts are for the test."""
    _check_own_folds(data, len(dataset.folds), "splits_final.json")
    assert data.fold is not None
    train, val = (set(part) & set(ids) for part in dataset.folds[data.fold])
    test = set(ids) - train - val
    return Split(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)))


def _check_own_folds(data: DataConfig, count: int, where: str) -> None:
    assert data.fold is not None
    if data.folds not in (None, count):
        raise ConfigError(f"data.folds: {data.folds}, but {where} has {count}; leave it out")
    if not 0 <= data.fold < count:
        raise ConfigError(
            f"data.fold: {data.fold} is not possible; {where} has folds 0 to {count - 1}"
        )


def split_name(data: DataConfig) -> str:
    """How earlier versions called the file with the split of these settings."""
    shares = "-".join(f"{share:g}" for share in (data.split.train, data.split.val, data.split.test))
    name = f"seed{data.split_seed}_{shares}"
    if data.folds is not None:
        name += f"_fold{data.fold}of{data.folds}"
    return name


def _part_sizes(cases: int, data: DataConfig) -> list[int]:
    """Cases for (train, val, test): largest remainders, then at least one where a share is set."""
    shares = [data.split.train, data.split.val, data.split.test]
    for name, share in zip(("train", "val", "test"), shares, strict=True):
        if not 0 <= share <= 1:
            raise ConfigError(f"data.split.{name}: {share} must be between 0 and 1")
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ConfigError(f"data.split: {shares} sums to {sum(shares):g}; it must sum to 1")
    if cases < 2:
        raise ConfigError(f"data.split: {cases} cases cannot be split; 2 or more are needed")
    exact = [share * cases for share in shares]
    counts = [math.floor(share + 1e-9) for share in exact]
    by_remainder = sorted(range(3), key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: cases - sum(counts)]:
        counts[part] += 1
    # training and validation always need a case; the test part does if its share is above 0
    needed = [0, 1] + ([2] if shares[2] > 0 and cases >= 3 else [])
    if shares[2] > 0 and cases < 3:
        counts[2] = 0
        counts[0] = cases - counts[1]
    for part in needed:
        if counts[part] == 0:
            largest = max(range(3), key=lambda other: counts[other])
            counts[largest] -= 1
            counts[part] += 1
    return counts


def _checked_fold(data: DataConfig, cases: int) -> int:
    folds, fold = data.folds, data.fold
    assert folds is not None
    if not 2 <= folds <= cases:
        raise ConfigError(
            f"data.folds: {folds} is not possible with {cases} cases outside the test part; "
            f"it must be 2 to {cases}"
        )
    if fold is None:
        raise ConfigError(f"data.fold: not set; with data.folds={folds} type 0 to {folds - 1}")
    if not 0 <= fold < folds:
        raise ConfigError(
            f"data.fold: {fold} is not possible with data.folds={folds}; "
            f"it must be 0 to {folds - 1}"
        )
    return fold
