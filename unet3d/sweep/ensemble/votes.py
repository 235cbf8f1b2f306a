"""The votes of trained networks on validation cases, kept only where the networks disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unet3d.inference.maps import Watcher
from unet3d.inference.scan import PreparedScan
from unet3d.preprocessing.geometry import stored_labels
from unet3d.sampling.targets import Targets
from unet3d.sweep.ensemble.selection import Votes, predicted


class VoteCounter:
    """Takes the votes on a case from the planes of logits as they pass by.

    Where all members predict the same, so does each weighted mean of them: a convex combination of
    logits on one side of 0 stays there, and a class that is largest in all is largest in the mean.
    Only the other voxels are kept, which makes selection exact and small.
    """

    def __init__(self, targets: Targets, label: np.ndarray, ignore: int | None):
        self.targets, self.label, self.ignore = targets, label, ignore
        self.truth: np.ndarray = np.zeros(0, np.uint8)
        self.agreed: np.ndarray = np.zeros((3, len(targets.names)))
        self.logits: list[np.ndarray] = []
        self.truths: list[np.ndarray] = []

    def watch(self, scan: PreparedScan) -> Sequence[Watcher]:
        """The watcher of this case."""
        shape = scan.image.shape[:3]
        self.truth = stored_labels(self.label, scan.geometry.as_dict(), shape)
        return [self.take]

    def take(self, x: int, mean: np.ndarray, members: Sequence[np.ndarray]) -> None:
        """Count and keep a plane."""
        label = self.truth[x]
        known = np.ones(label.shape, bool) if self.ignore is None else label != self.ignore
        truth = self.targets.table[label] > 0
        logits = np.stack(members)
        each = predicted(logits, self.targets.exclusive)
        alike = (each == each[0]).all(axis=(0, -1))
        same = known & alike
        prediction = each[0]
        self.agreed += [
            (prediction & truth)[same].sum(axis=0),
            truth[same].sum(axis=0),
            prediction[same].sum(axis=0),
        ]
        open_ = known & ~alike
        self.logits.append(logits[:, open_])
        self.truths.append(truth[open_])

    def votes(self) -> Votes:
        """Of the whole case."""
        logits, truth = np.concatenate(self.logits, axis=1), np.concatenate(self.truths)
        return Votes(self.agreed, logits, truth, self.targets.exclusive)
