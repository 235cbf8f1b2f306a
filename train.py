"""One run: `python train.py parallel=none data=phantom lr=1e-3`; `--help` lists the settings."""

from unet3d.cli import run_hydra
from unet3d.config import Config


def train(config: Config, overrides: list[str]) -> float | None:
    """Train one network as configured and return the best val/dice, which a sweep maximises."""
    from unet3d.tracking.server import tracking_server

    with tracking_server(config):
        if config.nodes > 1:
            from unet3d.parallel.data_job import run_on_nodes

            return run_on_nodes(config, overrides)
        from unet3d.training.job import run_training

        return run_training(config, overrides)


if __name__ == "__main__":
    run_hydra(train)
