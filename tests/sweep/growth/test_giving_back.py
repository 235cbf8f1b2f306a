"""A trial that has grown gives a slot back, on a real Ray of two CPUs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.small import small_config
from unet3d.config.schema import SweepConfig
from unet3d.distributed.stop import StopRequest
from unet3d.planning import grow
from unet3d.sweep.live_table import LiveTable
from unet3d.sweep.plan import SweepPlan, run_config
from unet3d.sweep.resources import choose_from_cluster
from unet3d.sweep.running import Sweep
from unet3d.sweep.scheduler import run_trials
from unet3d.sweep.search.search import GridSearch
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial
from unet3d.sweep.worker_pool import WorkerPool
from unet3d.training.setup import make_data

SETTINGS = ("model.norm=group", "batch_size=4", "steps_per_epoch=30", "parallel=experiment")


class TwoSteps(GridSearch):
    """A search whose second trial follows when the first one, the only one till then, has grown."""

    def __init__(self, trial: Trial, another: Trial):
        super().__init__([trial], SweepConfig())
        self.another: list[Trial] = [another]
        self.sweep: Any = None

    def next(self) -> Trial | None:
        """The first trial, then nothing until that has two slots."""
        trial = super().next()
        if trial is None and any(one.slots == 2 for one in self.sweep.running.values()):
            trial = self.another.pop() if self.another else None
        return trial


def test_a_grown_trial_gives_a_slot_to_another_step_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the end of an epoch; both finish, and neither has failed or been tried again."""
    caplog.set_level(logging.INFO)
    for name in ("MARGIN", "ASSUMED_SECONDS"):
        monkeypatch.setattr(grow, name, 0.0)
    long = Trial(0, (), {}, small_config(tmp_path, *SETTINGS, "epochs=12"))
    short = Trial(1, (), {}, small_config(tmp_path, *SETTINGS, "epochs=1"))
    make_data(long.config)
    unused: Any = None
    plan = SweepPlan(unused, "sweep", [], [long], 2, unused)
    search, folder = TwoSteps(long, short), SweepFolder(tmp_path / "sweep")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        resources, _machines = choose_from_cluster(long.config, local=True)
        pool = WorkerPool(long.config, resources, True, {})
        with LiveTable(2, 2) as table:
            sweep = Sweep(
                search=search,
                folder=folder,
                pool=pool,
                table=table,
                stop=StopRequest(),
                retries=0,
                local=True,
                prepare=lambda trial, run_id: run_config(trial, plan, resources, None, run_id),
                record_failure=lambda trial, run_id, error: "",
                record_stop=lambda trial, run_id, reason: None,
                grow="auto",
            )
            search.sweep = sweep
            results = run_trials(sweep)
    finally:
        ray.shutdown()
    assert {n: (r.state, r.attempts) for n, r in results.items()} == {
        0: ("finished", 1),
        1: ("finished", 1),
    }
    changes = folder.job(long).regroupings()
    assert [change[1:] for change in changes][:2] == [(1, 2), (2, 1)], caplog.text
    epochs = [record["epoch"] for record in folder.job(long).epochs()]
    assert epochs == [*range(1, 13)]
