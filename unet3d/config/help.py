"""The text of --help, from the schema and conf/ alone: it needs neither Hydra nor TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from unet3d.config.choices import choices, default_choices, default_values
from unet3d.config.command_line import program
from unet3d.config.messages import as_typed
from unet3d.config.reference import Row, rows, summary
from unet3d.config.schema import Config, SweepRunConfig, schemas_of
from unet3d.config.walk import subgroups
from unet3d.terminal import width, wrapped

INDENT = 34
TRAIN = "Train a 3D U-Net on medical images and record the run in MLflow."
TRAIN_EXAMPLES = {
    "{train}": "the default run, on phantoms",
    "{train} data=msd data.root=<folder with dataset.json> epochs=100": "",
    "{train} model=resunet loss=dice_ce optimizer=adamw lr=5e-4 augment=full": "",
    "{train} parallel=data nodes=4 batch_size=4": "one training over four workers",
    "{train} --cfg job": "print the composed settings",
    "{train} resume=<run id>": "continue a stopped run",
    "mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db": "look at the runs",
}
SWEEP = "Search over the settings of a training; each trial is a run."
SWEEP_EXAMPLES = {
    "{sweep} -m lr=1e-4,5e-4,1e-3 model.norm=batch,group": "every combination",
    "{sweep} -m experiment=paper_grid data.root=<folder>": "the 32 trials of Berral et al. 2022",
    "{sweep} -m lr=1e-4,5e-4 dry_run=true": "the trials and the resources of each",
    "{sweep} -m hydra/sweeper=optuna 'lr=tag(log,interval(1e-5,1e-2))' sweep.trials=40": "",
    "{sweep} -m lr=1e-4,5e-4 sweep.early_stopping=asha": "stop trials that fall behind",
    "{sweep} -m lr=1e-4,5e-4 parallel=data nodes=2": "each trial on two workers",
    "{sweep} -m ... parallel.address=auto tracking=server": "on a Ray cluster",
    "unet3d report sweep=<name>": "table, plots, best command",
}
AGAIN = "The same command again runs only what is missing or has failed."


def program_help(name: str) -> str:
    """What train.py or sweep.py prints; name: of the YAML file in conf/ that it begins with."""
    text, examples, how = TRAIN, TRAIN_EXAMPLES, "key=value"
    schema: type = Config
    if name == "sweep":
        text, examples, how = SWEEP, SWEEP_EXAMPLES, "key=value; key=a,b,c tries each"
        schema = SweepRunConfig
    return "\n".join(
        [
            text,
            "",
            "== Groups, chosen as group=choice ==",
            *_groups(name),
            "",
            f"== Settings, changed as {how} ==",
            *_settings(schema, name),
            "",
            "Examples",
            *_examples(examples),
            *([AGAIN] if name == "sweep" else []),
        ]
    )


def _examples(examples: dict[str, str]) -> Iterator[str]:
    """Commands as they are typed here, with what they do."""
    names = {name: " ".join(program(name)) for name in ("train", "sweep")}
    typed = {command.format(**names): text for command, text in examples.items()}
    longest = max(len(command) for command, text in typed.items() if text)
    beside = longest + max(map(len, typed.values())) + 4 <= width()
    for command, text in typed.items():
        if beside or not text:
            yield f"  {command:<{longest}}  {text}".rstrip()
        else:
            yield from (f"  {command}", f"      {text}")


def settings_help(schema: type) -> str:
    """The settings of a command, a line each: key=default, description, what is allowed."""
    listed = [*rows(schema)]
    for name, nested in subgroups(schema).items():
        listed += rows(nested, name)
    return "\n".join(_lines(listed))


def _groups(name: str) -> Iterator[str]:
    default = default_choices(name)
    for group, offered in choices().items():
        names = [f"{c.name}*" if c.name == default.get(group) else c.name for c in offered]
        yield from wrapped(f"  {group}:", ", ".join(names), len(group) + 4)
    yield "* is the default. docs/settings.md says what each choice sets."


def _settings(schema: type, name: str) -> Iterator[str]:
    """All settings with the values of the default choices, group by group."""
    values = default_values(name)

    def shown(settings: Iterable[Row]) -> Iterator[str]:
        return _lines(replace(row, default=values.get(row.key, row.default)) for row in settings)

    yield from shown(rows(schema))
    for group, general in subgroups(schema).items():
        common = rows(general, group)
        yield f"\n{group}: {summary(general)}"
        yield from shown(common)
        for nested, below in subgroups(general).items():
            yield from shown(rows(below, f"{group}.{nested}"))
        for variant in schemas_of(group):
            if variant is not general:
                yield f"  with {group}={getattr(variant, 'name', '')}:"
                yield from shown(row for row in rows(variant, group) if row not in common)


def _lines(settings: Iterable[Row]) -> Iterator[str]:
    for row in settings:
        head = f"  {row.key}=" + ("<required>" if row.required else as_typed(row.default))
        text = row.description + (f" ({row.allowed})" if row.allowed else "")
        yield from wrapped(head, text, INDENT)
