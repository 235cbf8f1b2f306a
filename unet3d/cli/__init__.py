"""The `unet3d` command; train.py and sweep.py start here too."""

from unet3d.cli.table import COMMANDS, Command, main

__all__ = ["COMMANDS", "Command", "main"]
