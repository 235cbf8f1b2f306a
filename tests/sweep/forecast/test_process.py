"""The forecast that a sweep makes beside its trials; tests/e2e/test_sweep.py has a whole one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.small import small_config
from unet3d.config.compose import compose_config
from unet3d.sweep.forecast import process
from unet3d.sweep.forecast.process import start_forecast
from unet3d.sweep.plan import SweepPlan
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.sweep_folder import sweep_folder
from unet3d.sweep.trial import Trial

ONE = TrialResources(cpus=1, gpus=0, workers_per_trial=1, at_once=1)


def plan_in(output_dir: Path) -> SweepPlan:
    """A sweep of one trial there."""
    unused: Any = None
    config: Any = compose_config([f"output_dir={output_dir}"], "sweep")
    trial = Trial(0, (), {}, small_config(output_dir))
    return SweepPlan(config, "sweep", [], [trial], 1, unused)


def test_without_any_run_it_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And no process is started for it."""
    caplog.set_level(logging.INFO)
    assert start_forecast(plan_in(tmp_path), ONE, sweep_folder(tmp_path, "sweep")) is None
    assert f"no forecast: nothing is measured in {tmp_path} yet" in caplog.text


def test_runs_that_say_nothing_are_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made in a process of its own, which has ended afterwards; nothing is kept."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(process, "LAST_SECONDS", 300.0)
    (tmp_path / "runs" / "0123").mkdir(parents=True)
    folder = sweep_folder(tmp_path, "sweep")
    forecast = start_forecast(plan_in(tmp_path), ONE, folder)
    assert forecast is not None
    forecast.wait()
    assert "no forecast: timing: nothing is measured in" in caplog.text
    assert not forecast.process.is_alive() and not folder.forecast.exists()
    forecast.end()  # again, as a sweep does that is left
