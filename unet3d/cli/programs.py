"""What train.py and sweep.py run, given composed settings."""

from __future__ import annotations

from unet3d.config.schema import AUTO, Config
from unet3d.logs import log_to_console


def train(config: Config, overrides: list[str]) -> float | None:
    """Train one network as configured and return the best val/dice, which a sweep maximises."""
    from pathlib import Path

    from unet3d.disk import check_writable
    from unet3d.tracking.server import tracking_server
    from unet3d.training.auto_resume import begun_run, finished_best, go_on
    from unet3d.training.resume import resumed_config

    log_to_console()
    if config.resume == AUTO:
        begun = begun_run(config)
        finished, best = finished_best(begun) if begun else (False, None)
        if finished:
            return best
        config = go_on(config, begun)
    elif config.resume:  # its own settings decide on how many nodes, and where it is recorded
        config = resumed_config(config, overrides)
    check_writable("output_dir", Path(config.output_dir))
    if config.parallel.name == AUTO:
        from unet3d.sweep.forecast.auto_parallel import decided

        config = decided(config)
    if config.nodes == 1:
        from unet3d.training.run import run_training

        with tracking_server(config):
            return run_training(config)
    from unet3d.cluster.data_parallel import run_on_nodes
    from unet3d.cluster.ray_cluster import reachable_host
    from unet3d.tracking.connection import warn_of_shared_file

    warn_of_shared_file(config)
    with tracking_server(config, reachable_host(config)):
        return run_on_nodes(config)


def trial(config: Config, overrides: list[str]) -> float | None:
    """A trial where Hydra's own launchers start it; dry_run=true prints its command instead."""
    if getattr(config, "dry_run", False):
        from unet3d.sweep.trial import Trial

        print(f"{Trial(0, tuple(overrides), {}, config).command}\n  dry_run: nothing was run")
        return None
    return train(config, overrides)
