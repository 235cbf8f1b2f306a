"""A finished sweep in MLflow's own pages: what a user sees, selects and compares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests import REPOSITORY
from tests.e2e.browser import Page, browser, needs_chromium
from tests.e2e.commands import SMALL, free_port, start
from tests.e2e.test_train import stop
from unet3d.cli import main

pytestmark = needs_chromium
PICTURES = os.environ.get("UNET3D_SCREENSHOTS")  # docs/images: pictures of a longer sweep go there
EPOCHS = ("epochs=20", "steps_per_epoch=20") if PICTURES else ("epochs=2",)
TRIALS = [f"lr={lr}, norm={norm}" for lr in ("0.001", "0.01") for norm in ("batch", "group")]
COMPARING = '//*[contains(text(), "Comparing 4 Runs")]'
PLOT = """
const plot = document.querySelector('.js-plotly-plot');
return plot.data[0].dimensions.map(axis => [axis.label, axis.values]);
"""
# The list is drawn as far as it can be seen; its last line is brought into view for more of it.
METRICS = """
const links = [...document.querySelectorAll('a[title="Plot chart"]')];
links.at(-1)?.scrollIntoView();
return links.map(link => link.textContent.trim());
"""
PIXELS = """
const lines = document.querySelector('.js-plotly-plot canvas.gl-canvas-focus');
const copy = document.createElement('canvas');
[copy.width, copy.height] = [lines.width, lines.height];
const context = copy.getContext('2d');
context.drawImage(lines, 0, 0);
const colours = context.getImageData(0, 0, copy.width, copy.height).data;
return colours.filter((value, place) => place % 4 == 3 && value > 0).length;
"""


@dataclass(frozen=True)
class Sweep:
    """A finished sweep, and what `unet3d ui` opens of it.

    table: the runs of the experiment, as MLflow shows them without a view of ours.
    """

    folder: Path
    opened: str
    table: str
    parent: str
    trials: dict[str, str]  # name: run id
    dice: dict[str, float]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """Four trials on Ray, then `unet3d ui` on their store, as the README says it."""
    folder = tmp_path_factory.mktemp("sweep")
    settings = ("lr=1e-3,1e-2", "model.norm=batch,group", "tracking.system_metrics=false")
    settings = (*settings, "sweep.name=x")
    command = start(folder, *settings, *EPOCHS, base=("-m", *SMALL), program="sweep.py")
    assert command.wait(timeout=300) == 0, (folder / "output").read_text()
    assert "compare: unet3d ui sweep=x" in (folder / "output").read_text()
    server = serve(folder)
    try:
        shown = server.stdout.readline().strip() if server.stdout else ""
        while "/#/" not in shown and server.poll() is None and server.stdout:
            shown = server.stdout.readline().strip()
        yield recorded(folder, shown)
    finally:
        stop(server)


def serve(folder: Path) -> subprocess.Popen[str]:
    """`unet3d ui sweep=x` in the sweep's folder."""
    ui = ("ui", "sweep=x", "open=false", f"port={free_port()}")
    return subprocess.Popen(
        [sys.executable, "-m", "unet3d.cli", *ui],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def recorded(folder: Path, opened: str) -> Sweep:
    """What the store holds."""
    address = opened.partition("/#/")[0]
    client = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("unet3d")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["tags.`sweep.trial`"])
    trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in trials}
    return Sweep(
        folder,
        opened,
        f"{address}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning",
        parent,
        {run.info.run_name: run.info.run_id for run in trials},
        {run.info.run_name: run.data.metrics["val/dice"] for run in trials},
    )


def row(run_id: str) -> str:
    """The row of a run in the table of runs; it has one such element for each part that scrolls."""
    return f'//*[@role="row"][@row-id="{run_id}"]'


def open_trials(page: Page, sweep: Sweep) -> None:
    """Open the table of runs and the sweep in it; close what MLflow lays over it."""
    page.driver.get(sweep.table)
    page.find(row(sweep.parent))
    for button in page.visible('//button[@aria-label="Close"]'):
        button.click()
    assert not any(page.visible(row(trial)) for trial in sweep.trials.values())
    page.click(f'{row(sweep.parent)}//*[@role="gridcell"][.//a]//button')
    for trial in sweep.trials.values():
        page.find(row(trial))


def compare(page: Page, sweep: Sweep) -> None:
    """Tick the trials, and only them, and click Compare."""
    for trial in sweep.trials.values():
        box = f'{row(trial)}//input[contains(@aria-label, "row selection")]'
        page.click(box)
        page.exists(f"{box}[contains(@aria-label, '(checked)')]")
    page.click('//button[normalize-space()="Compare"]')
    page.find(COMPARING)


def plotted(page: Page) -> dict[str, list[Any]]:
    """The axes of the parallel coordinates, each with a value for each run."""
    return dict(page.until(lambda driver: driver.execute_script(PLOT), "there is a plot"))


def plot_metric(page: Page, metric: str) -> None:
    """Have the plot show `metric`, and no other metric."""
    choice = '//*[text()="Metrics:"]/following-sibling::*[1]'
    others = [name for name in plotted(page) if "/" in name and name != metric]
    if metric not in plotted(page):
        page.click(f'{choice}//input[@role="combobox"]/ancestor::*[contains(@class, "selector")]')
        page.click(f'//*[@title="{metric}"]')
    for other in others:
        page.click(f'{choice}//*[text()="{other}"]/following-sibling::*')
    page.click(COMPARING)  # closes the list
    axes = {"lr", "model.norm", metric}
    page.until(lambda _: plotted(page).keys() == axes, f"the plot shows {axes}")


def cells(page: Page, table: str) -> dict[str, list[str]]:
    """The rows of a table: the first cell, and those of the runs."""
    lines = page.find(table).find_elements("tag name", "tr")
    texts = [[cell.text for cell in line.find_elements("xpath", "./*")] for line in lines]
    return {first: rest for first, *rest in texts}


def keep_picture(page: Page, name: str) -> None:
    """A picture for the documents, without MLflow's side bar."""
    if PICTURES:
        page.find("//main").screenshot(str(Path(PICTURES) / name))


def test_ui_opens_on_the_comparison_of_a_sweep(tmp_path: Path, sweep: Sweep) -> None:
    """From `unet3d ui sweep=x` to the parallel coordinates over what was swept, without a click."""
    with browser(tmp_path) as page:
        page.driver.get(sweep.opened)
        axes = plotted(page)
        assert {"lr", "model.norm", "val/dice"} <= axes.keys()
        assert sorted(axes["val/dice"]) == pytest.approx(sorted(sweep.dice.values()))
        page.until(lambda driver: driver.execute_script(PIXELS) > 1000, "the plot has lines")


def test_the_table_of_runs_has_the_columns_that_matter(
    tmp_path: Path,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`page=table` finds the server that runs; all trials, val/dice, what was swept, at once."""
    monkeypatch.chdir(sweep.folder)
    main(["ui", "sweep=x", "page=table", "open=false"])
    address = capsys.readouterr().out.strip()
    assert address.startswith(sweep.opened.partition("/#/")[0])
    with browser(tmp_path) as page:
        page.driver.get(address)
        page.find(row(next(iter(sweep.trials.values()))))
        for button in page.visible('//button[@aria-label="Close"]'):
            button.click()
        for heading in ("val/dice", "lr", "model.norm"):
            page.find(f'//*[@role="columnheader"]//*[text()="{heading}"]')
        for trial in sweep.trials.values():
            page.find(row(trial))
        keep_picture(page, "mlflow_runs.png")


def test_trials_are_found_under_their_sweep(tmp_path: Path, sweep: Sweep) -> None:
    """One line a sweep; it opens to the trials, each named by what differs."""
    with browser(tmp_path) as page:
        open_trials(page, sweep)
        names = {page.find(f"{row(trial)}//a").text for trial in sweep.trials.values()}
        assert names == set(TRIALS)


def test_compare_shows_what_differs_and_what_came_of_it(tmp_path: Path, sweep: Sweep) -> None:
    """Compare plots over the swept settings at once, and tells that nothing else differs."""
    with browser(tmp_path) as page:
        open_trials(page, sweep)
        compare(page, sweep)
        assert {"lr", "model.norm"} < plotted(page).keys()
        plot_metric(page, "val/dice")
        switch = '//button[@aria-label="Parameters - Show diff only"]'
        page.click(switch)
        page.until(lambda _: len(cells(page, f"{switch}/following::table[1]")) < 5, "only diffs")
        settings = cells(page, f"{switch}/following::table[1]")
        assert settings.keys() == {"lr", "model.norm"}
        names = cells(page, '//table[.//*[contains(text(), "Run Name")]]')["Run Name:"]
        pairs = zip(settings["lr"], settings["model.norm"], strict=True)
        assert names == [f"lr={lr}, norm={norm}" for lr, norm in pairs]
        assert sorted(names) == TRIALS
        page.until(lambda driver: "val/dice" in driver.execute_script(METRICS), "val/dice is there")
        axes = plotted(page)
        assert axes["lr"] == [float(lr) for lr in settings["lr"]]
        assert axes["val/dice"] == pytest.approx([sweep.dice[name] for name in names])
        page.until(lambda driver: driver.execute_script(PIXELS) > 1000, "the plot has lines")
        keep_picture(page, "mlflow_compare.png")
