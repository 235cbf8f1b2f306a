"""Many runs: `python sweep.py -m lr=1e-4,1e-3 model.norm=batch,group`; `--help` tells more."""

from train import train
from unet3d.cli import run_hydra

if __name__ == "__main__":
    run_hydra(train, "sweep")
