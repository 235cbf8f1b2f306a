"""Which cases train, validate and test: a seeded split by case, optionally in k folds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unet3d.config.schema import DataConfig
from unet3d.errors import ConfigError


@dataclass(frozen=True)
class Split:
    """Case ids of each part, sorted; no case is in two parts."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def make_split(case_ids: Iterable[str], data: DataConfig) -> Split:
    """Split by `data.split`; with `data.folds`, the cases outside the test part form the folds.

    Depends only on the set of ids and data.split_seed, not on the order of the ids. Raises
    ConfigError for impossible fractions or folds.
    """
    ids = sorted(set(case_ids))
    counts = _part_sizes(len(ids), data)
    seed = np.random.SeedSequence([data.split_seed])
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(ids))
    drawn = [ids[index] for index in order]
    test, rest = drawn[: counts[2]], drawn[counts[2] :]
    if data.folds is None:
        if data.fold is not None:
            raise ConfigError(f"data.fold: {data.fold} needs data.folds, the number of folds")
        val = rest[: counts[1]]
    else:
        val = rest[_checked_fold(data, len(rest)) :: data.folds]
    train = set(rest) - set(val)
    return Split(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)))


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
