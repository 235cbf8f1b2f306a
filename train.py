"""One run: `python train.py parallel=none data=phantom lr=1e-3`; `--help` lists the settings."""

from unet3d.cli.hydra_start import run_hydra
from unet3d.cli.programs import train

if __name__ == "__main__":
    run_hydra(train)
