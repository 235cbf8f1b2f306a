"""What `unet3d --help` and `unet3d <command> --help` print."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from unet3d.cli.command import Command
from unet3d.config.command_line import program
from unet3d.terminal import paragraph, wrapped

NAME_WIDTH = 14  # of the column of names


def usage(commands: Iterable[Command]) -> str:
    """A line for each command, or more where the terminal is narrow."""
    lines = ["usage: unet3d <command> [key=value ...]", "", "commands"]
    for command in commands:
        lines += wrapped(f"  {command.name}", command.description, NAME_WIDTH)
    lines += ["", *paragraph("`unet3d <command> --help` shows examples and settings.")]
    return "\n".join(lines)


def command_help(command: Command) -> str:
    """Purpose, examples and settings of a command."""
    lines = wrapped(f"unet3d {command.name}:", command.description, len(command.name) + 9)
    if command.words:
        lines += ["", f"usage: unet3d {command.name} {command.words}"]
    lines += ["", "examples"]
    lines += [f"  {example}" for example in command.examples]
    if command.schema is not None:
        from unet3d.config.help import settings_help

        lines += ["", "settings", settings_help(command.schema)]
    if command.of_training:
        also = "also takes" if command.schema is not None else "takes"
        training = shlex.join(program("train"))
        also = f"It {also} the settings of a training: `{training} --help` lists them."
        lines += ["", *paragraph(also)]
    return "\n".join(lines)
