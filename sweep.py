"""Many runs: `python sweep.py -m lr=1e-4,1e-3 model.norm=batch,group`; `--help` tells more."""

from train import train
from unet3d.cli import run_hydra
from unet3d.config.schema import Config


def trial(config: Config, overrides: list[str]) -> float | None:
    """A trial where Hydra's own launchers start it; dry_run=true prints its command instead."""
    if getattr(config, "dry_run", False):
        from unet3d.sweep.trial import Trial

        print(f"{Trial(0, tuple(overrides), {}, config).command}\n  dry_run: nothing was run")
        return None
    return train(config, overrides)


if __name__ == "__main__":
    run_hydra(trial, "sweep")
