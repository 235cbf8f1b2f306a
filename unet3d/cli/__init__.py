"""The `unet3d` command; train.py and sweep.py start here too."""

from unet3d.cli.command import Command
from unet3d.cli.main import main
from unet3d.cli.table import COMMANDS

__all__ = ["COMMANDS", "Command", "main"]
