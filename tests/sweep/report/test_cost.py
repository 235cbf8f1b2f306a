"""What a sweep's results have cost."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from tests.sweep.folders import write_sweep, write_trial
from unet3d.sweep.report.cost import cost_sentence, pareto, plot_cost, progress, total_hours
from unet3d.sweep.report.parameters import LeftOut
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord


@pytest.fixture
def trials(tmp_path: Path) -> list[TrialRecord]:
    """Two trials of two epochs each, side by side: an hour for the first, three for the other."""
    sweep = write_sweep(tmp_path, "s")
    for number, (values, hours) in enumerate((((0.5, 0.6), 1.0), ((0.4, 0.9), 3.0))):
        folder = write_trial(sweep, number, {"lr": str(number)}, [*values])
        text = "".join(
            f'{{"epoch": {n + 1}, "time": {1000 * n + number}, "metrics": {{"val/dice": {v}}}}}\n'
            for n, v in enumerate(values)
        )
        (folder / "epochs").write_text(text)
        ended = (folder / "ended.json").read_text()
        (folder / "ended.json").write_text(f'{ended[:-1]}, "device_seconds": {3600 * hours}}}')
    return sorted(SweepFolder(sweep).trials(), key=lambda trial: trial.number)


def test_the_best_by_the_hours_that_all_trials_took(trials: list[TrialRecord]) -> None:
    """In the order of the clock, over both trials."""
    found = [(one.hours, one.dice, one.trial) for one in progress(trials)]
    assert found == [(0.5, 0.5, 0), (2.5, 0.6, 0), (4.0, 0.9, 1)]
    assert total_hours(trials) == pytest.approx(4)


def test_a_tenth_a_third_and_all(trials: list[TrialRecord]) -> None:
    """Of what was used, or of the budget where there was one."""
    said = cost_sentence(trials, None)
    assert said.startswith("4 device hours were used. Best val/dice after a tenth (0.4 h): none")
    assert "a third (1.33 h): 0.5000 by trial 0; all (4 h): 0.9000 by trial 1." in said
    assert "4 of 8 device hours" in (said := cost_sentence(trials, 8.0))
    assert "a third (2.67 h): 0.6000 by trial 0; all (4 h): 0.9000 by trial 1." in said
    unused = cost_sentence(trials, 30.0)  # of which a third is 10 hours
    assert "after a tenth (3 h): 0.6000 by trial 0; all (4 h): 0.9000" in unused
    assert cost_sentence([], None) == ""


def test_the_front_has_those_that_none_beats_in_both() -> None:
    """A dearer one only where it is better."""
    assert pareto([(3, 0.9), (1, 0.5), (2, 0.4), (1, 0.6), (4, 0.9)]) == [3, 0]
    assert pareto([]) == []


def test_the_picture(trials: list[TrialRecord], tmp_path: Path) -> None:
    """Something is drawn; without hours a sentence takes its place."""
    pixels = matplotlib.image.imread(plot_cost(trials, tmp_path / "cost.png", 8.0))
    assert pixels.shape[1] > 1000 and 0.01 < (pixels[..., :3].min(axis=-1) < 0.9).mean() < 0.5
    with pytest.raises(LeftOut, match="no finished trial has said how long"):
        plot_cost([], tmp_path / "none.png")
