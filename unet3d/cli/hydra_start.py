"""How train.py, sweep.py, `unet3d train` and `unet3d sweep` start: under Hydra, on conf/."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from unet3d.cli.user_errors import guarded
from unet3d.config.command_line import prepare_overrides
from unet3d.config.compose import check_typed, complete_config, conf_dir
from unet3d.config.schema import Config, register_schema
from unet3d.machine import collect_rarely


def run_hydra(
    task: Callable[[Config, list[str]], Any],
    name: str = "config",
    arguments: list[str] | None = None,
) -> None:
    """Run `task(config, overrides)` under Hydra; a user's error is one line and exit code 2.

    name: of the YAML file in conf/ to begin with. arguments: instead of those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        from unet3d.config.help import program_help

        print(program_help(name))
        return
    collect_rarely()
    import hydra
    from hydra.core.hydra_config import HydraConfig

    register_schema()

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
    def main(composed: Any) -> Any:
        overrides = list(HydraConfig.get().overrides.task)
        # Guarded here as well: Hydra would print a line of its own above ours.
        started = HydraConfig.get().job.config_name or name  # another by --config-name
        return guarded(lambda: task(complete_config(composed, started, overrides), overrides))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, so that `guarded` words them
    guarded(lambda: check_typed(arguments, name))
    sys.argv[1:] = guarded(lambda: prepare_overrides(arguments))
    guarded(main)
