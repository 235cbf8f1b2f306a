"""Runs that predict together, and where what is found out about them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet3d.run_folder import TEST, TUNED, run_folder


@dataclass(frozen=True)
class Ensemble:
    """Runs whose mean logits are the prediction; also a single one.

    typed: how a user names them, as in run=<id> or sweep=<name>. folder: that of the run or of the
    sweep's configuration; None for several runs that no sweep holds together. record: the run in
    the tracking store that gets their results. folds: whether they are the folds of one data set.
    weights: of each run in the mean; () for equal ones.
    """

    runs: tuple[str, ...]
    typed: str
    folder: Path | None
    record: str | None = None
    folds: bool = False
    weights: tuple[int, ...] = ()

    @property
    def weight_of(self) -> dict[str, int]:
        """The weight of each run."""
        return dict(zip(self.runs, self.weights or (1,) * len(self.runs), strict=True))

    @property
    def tuned(self) -> Path | None:
        """The file of what `unet3d tune` has chosen."""
        return self.folder / TUNED if self.folder else None

    @property
    def test(self) -> Path | None:
        """The folder of the results on test cases."""
        return self.folder / TEST if self.folder else None

    @property
    def out_of_fold(self) -> Path | None:
        """The folder of the results on cases out of their folds."""
        return self.folder / "out_of_fold" if self.folder else None


def ensemble_of(runs: Sequence[str], output_dir: str) -> Ensemble:
    """The runs that `run=` names."""
    one = len(runs) == 1
    folder = run_folder(output_dir, runs[0]).path if one else None
    return Ensemble(tuple(runs), f"run={','.join(runs)}", folder, runs[0] if one else None)
