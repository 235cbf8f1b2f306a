"""Greedy selection of an ensemble with replacement (Caruana et al. 2004), and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unet3d.metrics import dice_from_counts
from unet3d.sweep.statistics.estimate import Estimate, estimate

PARTS = 5  # of the cases, each of which is left out once to see what selection is worth


@dataclass(frozen=True)
class Votes:
    """What members say of a case, as far as it depends on their weights.

    agreed: counts (3, outputs) of intersection, truth and prediction over the voxels where any mean
    of the members predicts the same. logits: (members, voxels, outputs), of the other voxels;
    truth: boolean (voxels, outputs). exclusive: whether outputs are classes, of which the first is
    the background and does not count.
    """

    agreed: np.ndarray
    logits: np.ndarray
    truth: np.ndarray
    exclusive: bool

    def dice(self, total: np.ndarray) -> float:
        """The case's mean Dice over its outputs. total: sum of the members' logits, or a mean."""
        prediction = predicted(total, self.exclusive)
        counts = np.stack(
            [
                (prediction & self.truth).sum(axis=0),
                self.truth.sum(axis=0),
                prediction.sum(axis=0),
            ]
        )
        each = dice_from_counts(tuple(self.agreed + counts))
        return float(np.mean(each[1:] if self.exclusive else each))


def predicted(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """Boolean (..., outputs): the largest class, or the regions above 0."""
    if not exclusive:
        return logits > 0
    return np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[..., None]


def weighted_dice(cases: Sequence[Votes], weights: np.ndarray) -> np.ndarray:
    """The Dice of each case by the members' weighted mean. weights: (members,), not all 0."""
    chosen = np.flatnonzero(weights)
    return np.array(
        [one.dice(np.tensordot(weights[chosen], one.logits[chosen], axes=1)) for one in cases]
    )


def single_dice(cases: Sequence[Votes]) -> np.ndarray:
    """The Dice of each member alone: (members, cases)."""
    members = len(cases[0].logits)
    return np.array([[one.dice(one.logits[m]) for one in cases] for m in range(members)])


def select(cases: Sequence[Votes], rounds: int) -> np.ndarray:
    """How often each member is in the ensemble: whole numbers (members,), at most `rounds` in all.

    Begins with the best alone. Each round adds the member, also one that is in already, with which
    the mean Dice of the cases is highest; of all rounds the best counts, the first of several.
    """
    members = len(cases[0].logits)
    first = int(single_dice(cases).mean(axis=1).argmax())
    counts: np.ndarray = np.zeros(members, int)
    counts[first] = 1
    totals: list[np.ndarray] = [one.logits[first].astype(np.float32) for one in cases]
    best, best_score = counts.copy(), float(weighted_dice(cases, counts).mean())
    for _ in range(rounds - 1):
        scores = [
            float(np.mean([v.dice(t + v.logits[m]) for v, t in zip(cases, totals, strict=True)]))
            for m in range(members)
        ]
        added = int(np.argmax(scores))
        counts[added] += 1
        totals = [total + one.logits[added] for one, total in zip(cases, totals, strict=True)]
        if scores[added] > best_score:
            best, best_score = counts.copy(), scores[added]
    return best


def held_out_gain(cases: Sequence[Votes], rounds: int, seed: int = 0) -> Estimate | None:
    """What an ensemble gains over the single best on cases that neither was chosen by.

    Both are chosen anew without each of PARTS parts of the cases, and compared on that part, as
    selection always looks good on the cases it has seen. None with fewer than 4 cases.
    """
    if len(cases) < 4:
        return None
    order = np.random.default_rng(seed).permutation(len(cases))
    gains: np.ndarray = np.zeros(len(cases))
    for part in np.array_split(order, min(PARTS, len(cases))):
        others = [cases[i] for i in range(len(cases)) if i not in part]
        left_out = [cases[i] for i in part]
        single = int(single_dice(others).mean(axis=1).argmax())
        together = weighted_dice(left_out, select(others, rounds))
        gains[part] = together - single_dice(left_out)[single]
    return estimate([gains[None]])
