"""`unet3d completion <shell>`: what a shell runs to complete commands, settings and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from unet3d.cli.command import Command
from unet3d.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")
WORDS = "words"  # what the scripts call: the words that may follow a line
ONE_OF = "one of "  # how the rule of a setting with few values begins
HYDRA_OPTIONS = ("--config-dir", "--cfg", "--help", "-m")
RUNS = ("run", "resume", "init")  # settings that name a run


def completion(arguments: list[str], commands: Sequence[Command]) -> None:
    """Print the script of a shell, or with `words <line>` what may follow, one a line.

    Raises ConfigError for another shell.
    """
    if arguments and arguments[0] == WORDS:
        print("\n".join(following(" ".join(arguments[1:]), commands)))
        return
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        unclear = arguments[-1] if arguments else "nothing"
        raise ConfigError(f"{unclear}: not a shell; choose one of {', '.join(SHELLS)}")
    script = files("unet3d").joinpath(f"cli/completion_scripts/{arguments[0]}")
    print(script.read_text("utf-8"), end="")


def following(line: str, commands: Sequence[Command]) -> list[str]:
    """The words that the last one of a command line, empty after a space, may become."""
    typed = line.split()[1:] + ([""] if line[-1:].isspace() else [])
    current = typed[-1] if typed else ""
    if len(typed) < 2:
        offered = [command.name for command in commands]
    else:
        command = next((c for c in commands if c.name == typed[0]), None)
        offered = sorted({*_offered(command, typed)}) if command else []
    return [word for word in offered if word.startswith(current)]


def _offered(command: Command, typed: list[str]) -> Iterator[str]:
    current = typed[-1]
    if command.name == "completion":
        yield from SHELLS
        return
    if current.startswith("-"):
        yield from HYDRA_OPTIONS if command.by_hydra else ("--help",)
        return
    values = _values(command)
    key, equals, _ = current.partition("=")
    if not equals:
        yield from (f"{name}=" for name in values)
        return
    found = values.get(key.lstrip("+"), ())
    if key in RUNS or key == "sweep":
        output = next((o.partition("=")[2] for o in typed if o.startswith("output_dir=")), "")
        kind = "sweeps" if key == "sweep" else "runs"
        found = tuple(path.name for path in Path(output or "outputs", kind).glob("[!.]*"))
    yield from (f"{key}={value}" for value in found)


def _values(command: Command) -> dict[str, tuple[str, ...]]:
    """The settings of a command, each with its values where they are few."""
    from unet3d.config.choices import choices
    from unet3d.config.reference import Row, rows
    from unet3d.config.schema import SCHEMAS, Config, SweepConfig, SweepRunConfig
    from unet3d.config.walk import subgroups

    settings: list[Row] = []
    found: dict[str, tuple[str, ...]] = {}
    if command.schema is not None:
        settings += rows(command.schema)
        for name, nested in subgroups(command.schema).items():
            settings += rows(nested, name)
    if command.of_training or command.by_hydra:
        found |= {name: tuple(c.name for c in offered) for name, offered in choices().items()}
        settings += rows(Config)
        for (group, _), schema in SCHEMAS.items():
            if group != "schema":
                settings += rows(schema, group)
                for name, nested in subgroups(schema).items():
                    settings += rows(nested, f"{group}.{name}")
    if command.name == "sweep":
        settings += [*rows(SweepRunConfig), *rows(SweepConfig, "sweep")]
    if command.name in ("report", "simulate"):
        found["sweep"] = ()
    for row in settings:
        values: tuple[str, ...] = ()
        if row.type == "true or false":
            values = ("true", "false")
        elif row.allowed.startswith(ONE_OF):
            values = tuple(row.allowed.removeprefix(ONE_OF).split(", "))
        found.setdefault(row.key, values)
    return found
