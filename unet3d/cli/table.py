"""All commands of `unet3d`, in the order in which they are listed."""

from __future__ import annotations

from unet3d.cli.command import Command
from unet3d.cli.data_commands import DATA
from unet3d.cli.network_commands import NETWORK
from unet3d.cli.record_commands import RECORDS
from unet3d.cli.start_commands import START
from unet3d.cli.study_commands import STUDIES


def _completion(arguments: list[str]) -> None:
    from unet3d.cli.completion import completion

    completion(arguments, COMMANDS)


COMPLETION = Command(
    "completion",
    _completion,
    "have the shell complete commands, settings and their values",
    (
        'eval "$(unet3d completion bash)"',
        'eval "$(unet3d completion zsh)"',
        "unet3d completion fish | source",
    ),
    words="bash | zsh | fish",
)
COMMANDS: tuple[Command, ...] = (*START, *DATA, *NETWORK, *STUDIES, *RECORDS, COMPLETION)
