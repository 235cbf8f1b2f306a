"""Commands about many trials: the report of a sweep, a study of scaling, a simulation."""

from __future__ import annotations

from dataclasses import fields

from unet3d.cli.arguments import as_list, separate, separate_own
from unet3d.cli.command import Command
from unet3d.config.compose import compose_config, from_overrides
from unet3d.config.schema import ReportConfig, ScalingConfig, SimulateConfig, StudyConfig


def _report(overrides: list[str]) -> None:
    from unet3d.sweep.paper.paper import paper_of
    from unet3d.sweep.report.report import report_again

    # `sweep` is a name here, taken as it is typed; in sweep.py it is a group of settings.
    named, rest = separate(("sweep",), overrides)
    name = named[-1].removeprefix("sweep=") if named else ""
    own, of_training = separate_own(ReportConfig, rest)
    config = compose_config(of_training)
    if from_overrides(ReportConfig, own).format == "paper":
        print(f"paper: {paper_of(config, name)}")
        return
    print(f"report: {report_again(config, name)}")


def _scaling(overrides: list[str]) -> None:
    from unet3d.scaling.study import scaling_command

    short = [f.name for f in fields(StudyConfig)]  # trials=8 is scaling.trials=8
    own, of_training = separate(("devices", "modes", *short), overrides)
    of_study = [o for o in of_training if o.startswith("scaling.")]
    own = [f"scaling.{o}" if o.partition("=")[0] in short else o for o in own] + of_study
    own = [o.replace("scaling.from=", "scaling.runs=", 1) for o in own]
    lists = [as_list("modes", as_list("devices", text)) for text in own]
    of_training = [o for o in of_training if o not in of_study]
    scaling_command(from_overrides(ScalingConfig, lists), of_training)


def _simulate(overrides: list[str]) -> None:
    from unet3d.scaling.simulate import simulate_command

    names, rest = separate(("sweep",), overrides)
    rest = [o.replace("scaling.from=", "runs=", 1) for o in rest]
    own, of_training = separate_own(SimulateConfig, rest)
    settings = from_overrides(SimulateConfig, [as_list("gpus", text) for text in own])
    output_dir = compose_config([o for o in of_training if "," not in o]).output_dir
    sweep = names[-1].partition("=")[2] if names else None
    simulate_command(settings, sweep, of_training, output_dir)


STUDIES = (
    Command(
        "report",
        _report,
        "write the table and the page of a sweep, or what a paper needs of it",
        (
            "unet3d report sweep=<name>",
            "unet3d report sweep=<name> output_dir=<folder>",
            "unet3d report sweep=<name> format=paper",
        ),
        schema=ReportConfig,
        of_training=True,
    ),
    Command(
        "scaling",
        _scaling,
        "measure the speed-up of each parallelism over numbers of devices",
        (
            "unet3d scaling devices=1,2 epochs=2",
            "unet3d scaling devices=1,2,4,8 modes=experiment,data,hybrid scaling.trials=8 epochs=2",
            "unet3d scaling experiment=paper_grid devices=1,2,4,8,16,32 scaling.fraction=0.05",
        ),
        schema=ScalingConfig,
        of_training=True,
        stopped="stopped; what was measured is kept, and the same command goes on",
    ),
    Command(
        "simulate",
        _simulate,
        "forecast a sweep on clusters of other sizes, for each parallelism; nothing is run",
        (
            "unet3d simulate sweep=<name> gpus=1,2,4,8 gpus_per_node=4",
            "unet3d simulate lr=1e-4,1e-3 model.norm=batch,group timing=v100 gpus=1,2,4",
            "unet3d simulate experiment=paper_grid gpus=1,2,4,8,16,32 timing=paper",
        ),
        schema=SimulateConfig,
        of_training=True,
    ),
)
