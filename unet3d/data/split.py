"""Which cases train, validate and test: seeded, by case, optionally in k folds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unet3d.config import ConfigError, DataConfig
from unet3d.data.atomic import write_text
from unet3d.data.store import Store


@dataclass(frozen=True)
class Split:
    """Case ids of each part, sorted; no case is in two parts."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def make_split(case_ids: Iterable[str], data: DataConfig) -> Split:
    """Split by `data.split`; with `data.folds`, what is left of the test part is cut in folds.

    Depends on the set of ids and on data.split_seed only, not on the order of the ids. Raises
    ConfigError for fractions or folds that cannot work.
    """
    ids = sorted(set(case_ids))
    counts = _counts(len(ids), data)
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


def split_path(store: Store, data: DataConfig) -> Path:
    """The file beside the store for the split of these settings."""
    shares = "-".join(f"{share:g}" for share in (data.split.train, data.split.val, data.split.test))
    name = f"seed{data.split_seed}_{shares}"
    if data.folds is not None:
        name += f"_fold{data.fold}of{data.folds}"
    return store.path / "splits" / f"{name}.json"


def write_split(store: Store, split: Split, data: DataConfig) -> None:
    """Write the ids and the settings they came from to the split's file."""
    settings = {
        "split": asdict(data.split),
        "split_seed": data.split_seed,
        "folds": data.folds,
        "fold": data.fold,
    }
    write_text(split_path(store, data), json.dumps({**settings, **asdict(split)}, indent=1))


def _counts(cases: int, data: DataConfig) -> list[int]:
    """Cases for (train, val, test): largest remainders, then one for each that asks for any."""
    shares = [data.split.train, data.split.val, data.split.test]
    for name, share in zip(("train", "val", "test"), shares, strict=True):
        if not 0 <= share <= 1:
            raise ConfigError(f"data.split.{name}: {share} must be from 0 to 1")
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ConfigError(f"data.split: {shares} sums to {sum(shares):g}; it must sum to 1")
    if cases < 2:
        raise ConfigError(f"data.split: {cases} cases cannot be split; 2 or more are needed")
    exact = [share * cases for share in shares]
    counts = [math.floor(share + 1e-9) for share in exact]
    by_remainder = sorted(range(3), key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: cases - sum(counts)]:
        counts[part] += 1
    # training and validation need a case whatever the shares; the test part if it asks for one
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
            f"data.folds: {folds} is not possible with {cases} cases beside the test part; "
            f"it must be from 2 to {cases}"
        )
    if fold is None:
        raise ConfigError(f"data.fold is not set; with data.folds={folds} it is 0 to {folds - 1}")
    if not 0 <= fold < folds:
        raise ConfigError(
            f"data.fold: {fold} is not possible with data.folds={folds}; "
            f"it must be 0 to {folds - 1}"
        )
    return fold
