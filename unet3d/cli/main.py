"""The `unet3d` command: find it in the table, run it, end with its exit code."""

from __future__ import annotations

import difflib
import os
import sys

from unet3d.cli.arguments import with_config_dir
from unet3d.cli.command import Command
from unet3d.cli.table import COMMANDS
from unet3d.cli.usage import command_help, usage
from unet3d.cli.user_errors import fail, guarded


def main(arguments: list[str] | None = None) -> None:
    """The `unet3d` command. Leaves by SystemExit where the exit code is not 0."""
    try:
        _main(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # a reader that has seen enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(COMMANDS))
        return
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"unet3d {version('unet3d')}")
        return
    name, overrides = arguments[0], arguments[1:]
    command = {command.name: command for command in COMMANDS}.get(name)
    if command is None:
        sys.exit(fail(_not_a_command(name)))
    if command.by_hydra:
        command.run(overrides)
        return
    if "-h" in overrides or "--help" in overrides:
        print(command_help(command))
        return
    if code := guarded(lambda: _start(command, overrides), command.stopped):
        sys.exit(code)


def _start(command: Command, overrides: list[str]) -> int | None:
    from unet3d.logs import log_to_console

    log_to_console()
    return command.run(with_config_dir(overrides) if command.of_training else overrides)


def _not_a_command(name: str) -> str:
    names = [command.name for command in COMMANDS]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"
    return f"{name} is not a command; {hint}"
