"""What chance decides of a sample first: its case, and the label in its middle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unet3d.errors import ConfigError
from unet3d.preprocessing.store import Store

ORDER, SAMPLE = 0, 1  # the two kinds of random generators


def generator(seed: int, kind: int, epoch: int, position: int) -> np.random.Generator:
    """A counter-based generator for one sample, or for one pass over the cases."""
    key = np.array([seed, kind], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, position, epoch]))


def draw_case(
    seed: int, epoch: int, position: int, count: int, weights: Sequence[float] = ()
) -> int:
    """The index of a position's case; each block of `count` positions has every case once.

    With weights it has each as often as its weight says, rounded up or down at random.
    """
    block, index = divmod(position, count)
    rng = generator(seed, ORDER, epoch, block)
    chosen = int(rng.permutation(count)[index])
    if not weights:
        return chosen
    up_to = np.cumsum(weights)
    place = (chosen + rng.random()) / count * up_to[-1]  # the same random part for all of a block
    return min(int(np.searchsorted(up_to, place, "right")), count - 1)


def draw_label(
    rng: np.random.Generator, labels: Sequence[int], shares: Mapping[Any, float] | None
) -> int:
    """One of the labels that a case has: by the `shares` of label values, or of equal chance.

    The chances are equal too where none of these labels has a share.
    """
    given = {int(label): share for label, share in (shares or {}).items()}
    own = np.array([given.get(label, 0.0) for label in labels], float)
    if not own.any():
        return labels[int(rng.integers(len(labels)))]
    chosen = np.searchsorted(np.cumsum(own), rng.random() * own.sum(), "right")
    return labels[int(chosen)]


def check_shares_of_labels(shares: Mapping[Any, float] | None, labels: Iterable[int]) -> None:
    """ConfigError for a label value in data.foreground_shares that the data set does not have."""
    known = sorted(labels)
    unknown = [label for label in shares or {} if int(label) not in known]
    if unknown:
        raise ConfigError(
            f"data.foreground_shares: {unknown[0]} is no label value of the data set, which has "
            f"{', '.join(map(str, known))}"
        )


def case_weights(store: Store, cases: Sequence[str]) -> tuple[float, ...]:
    """How often each case is drawn, relative to the others; () where all are drawn equally.

    Raises ConfigError where none is drawn at all.
    """
    given = {case.id: case.weight for case in store.source.cases} if store.source else {}
    weights = tuple(given.get(case, 1.0) for case in cases)
    if not any(weights):
        raise ConfigError("data.root: every case to train on has a weight of 0 in the table")
    return weights if len(set(weights)) > 1 else ()
