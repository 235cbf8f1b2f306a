"""Population based training by sweep.py: killed, it goes on and continues from the same runs."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.commands import SMALL, run, start, wait_for
from unet3d.run_folder import run_folder
from unet3d.sweep.report.results import read_results
from unet3d.sweep.search.population import read_lineage
from unet3d.sweep.sweep_folder import sweep_folder
from unet3d.tracking.facts import read_facts
from unet3d.training.checkpoint import read_progress

SWEEP = ("tracking.system_metrics=false", "lr=1e-2,1e-3,1e-9", "epochs=4", "sweep.name=members")
POPULATION = (*SWEEP, "sweep.perturbation_interval=2", "sweep.forecast=false")


def test_a_killed_population_goes_on(tmp_path: Path) -> None:
    """Three members, two generations; the worst one continues from the best one."""
    outputs = tmp_path / "outputs"
    folder = sweep_folder(outputs, "members")
    base = ("-m", *SMALL)
    driver = start(tmp_path, *POPULATION, base=base, program="sweep.py")
    wait_for(tmp_path, "trial 3 (", driver)
    driver.kill()
    driver.wait()
    begun = read_lineage(folder.lineage)
    code, said = run(tmp_path, *POPULATION, base=base, program="sweep.py")
    assert code == 0, said
    steps = read_lineage(folder.lineage)
    assert steps[: len(begun)] == begun
    assert [(one.generation, one.member) for one in steps] == [
        (generation, member) for generation in range(2) for member in range(3)
    ]
    trials = {one.number: one for one in read_results(folder)}
    first = sorted(range(3), key=lambda at: -(trials[at].result.best or 0))
    for step in steps[3:]:
        source = first[0] if step.member == first[-1] else step.member
        assert step.source == source and step.run == trials[source].result.run_id
        assert (step.values == steps[source].values) == (source == step.member)
    assert {one.result.state for one in trials.values()} == {"finished"}
    for step in steps[3:]:
        own = run_folder(outputs, trials[step.trial].result.run_id)
        assert read_facts(own).tags["continue_from"] == step.run
        history, before = (
            read_progress(one).history for one in (own, run_folder(outputs, step.run))
        )
        assert [one["epoch"] for one in history] == [1, 2, 3, 4]
        assert [one["metrics"]["train/loss"] for one in history[:2]] == [
            one["metrics"]["train/loss"] for one in before
        ]
        assert [one["epoch"] for one in trials[step.trial].epochs] == [3, 4]
    assert "Population: trial" in said
    assert (folder.report / "lineage.csv").is_file()
