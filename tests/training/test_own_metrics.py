"""validation.metrics: what a metric of the user's own gets and returns, and its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.small import small_config
from unet3d.config.compose import compose_config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.errors import ConfigError
from unet3d.sampling.targets import Targets
from unet3d.training.own_metrics import case_values, checked_metrics, columns, mean_values
from unet3d.training.run import run_training
from unet3d.training.setup import make_setup
from unet3d.training.validate import Validation, gather, mean_metrics

HERE = "tests.training.some_metrics"
TARGETS = Targets(("background", "core", "whole"), np.zeros((256, 3), np.float32), True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "{a: nolab.metrics.f}",
            "validation.metrics.a: nolab.metrics.f is not found, as .* no m",
        ),
        (f"{{a: {HERE}.gone}}", "some_metrics has no gone"),
        (f"{{a: {HERE}.text}}", "returned str; a number for the case is expected, or one"),
        (
            f"{{a: {HERE}.pairs}}",
            "returned list of shape \\(2,\\); a number .* of the 3 outputs",
        ),
        (f"{{a: {{_target_: {HERE}.volume, width: 3}}}}", "cannot be called with .* 'width'"),
        (
            f"{{a: {{_target_: {HERE}.volume, spacing: 3}}}}",
            "is given spacing anyway; leave",
        ),
        ("{dice_core: a.b}", "validation.metrics: dice_core is not possible; a name is of letters"),
        ("{a-b: a.b}", "validation.metrics: a-b is not possible"),
        ("{a: 3}", "validation.metrics.a: 3 is not possible; it must be a function such as"),
        ("[a.b]", "validation.metrics: .* is not possible; write {volume: mylab.metrics.volume}"),
    ],
)
def test_a_breach_is_one_line(given: str, message: str) -> None:
    """The metric, what it is or returns, and what is expected; before the data are read."""
    with pytest.raises(ConfigError, match=message) as caught:
        config = compose_config([f"validation.metrics={given}"])
        checked_metrics(config.validation.metrics, TARGETS)
    assert "\n" not in str(caught.value)


def test_means_over_cases_outputs_and_what_is_not_defined(caplog: Any) -> None:
    """NaN counts nowhere; a softmax's background not in the mean; a failure is a warning."""
    metrics = checked_metrics(
        {
            "overlap": f"{HERE}.overlap",
            "ml": {"_target_": f"{HERE}.volume", "scale": 2},
            "never": f"{HERE}.fails",
        },
        TARGETS,
    )
    assert columns(metrics, 3) == 5
    truth = np.zeros((10, 10, 10, 3), bool)
    truth[:5, ..., 1] = True
    rows = [
        case_values(metrics, "a", truth, truth, (1.0, 2.0, 5.0)),
        case_values(metrics, "b", truth & False, truth, (1.0, 2.0, 5.0)),
    ]
    found = mean_values(metrics, np.array(rows), TARGETS)
    assert found == {
        "val/overlap": 0.75,
        "val/overlap_background": 1,
        "val/overlap_core": 0.5,
        "val/overlap_whole": 1,
        "val/ml": 10,
    }
    assert "metrics.never: failed on case a (RuntimeError: out of ideas)" in caplog.text


@pytest.mark.parametrize("target", ["regions", "classes"])
def test_the_validation_hands_over_what_it_counts(tmp_path: Path, target: str) -> None:
    """Dice of the masks that the metric gets is the Dice that the device counts."""
    own = f"validation.metrics={{overlap: {HERE}.overlap}}"
    small = ("model.filters=2", "model.depth=1", f"data.target={target}")
    setup = make_setup(small_config(tmp_path, *small, own), SINGLE_WORKER)
    cases = tuple(sorted(setup.store.cases))
    found = [one for group in Validation(setup).results(cases) for one in group]
    for one in found:
        np.testing.assert_allclose(one.own, one.dice, atol=1e-6)
    outputs = len(setup.targets.names)
    again = gather(dict(enumerate(found)), cases, outputs, lambda table: table, outputs)
    metrics = mean_metrics(again, setup.targets, setup.metrics)
    assert metrics["val/overlap"] == pytest.approx(metrics["val/dice"])


def test_it_is_recorded_with_the_epoch(tmp_path: Path) -> None:
    """In the history of the run's checkpoint, from which MLflow's metrics come."""
    own = f"validation.metrics={{ml: {HERE}.volume}}"
    run_training(small_config(tmp_path, "model.filters=2", "model.depth=1", own))
    from unet3d.run_folder import run_folder
    from unet3d.training.checkpoint import read_progress

    (run,) = (tmp_path / "runs").iterdir()
    (epoch,) = read_progress(run_folder(tmp_path, run.name)).history
    assert epoch["metrics"]["val/ml"] >= 0
    assert json.dumps(epoch)
