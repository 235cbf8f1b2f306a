"""Many runs: `python sweep.py -m lr=1e-4,1e-3 model.norm=batch,group`; `--help` tells more."""

from unet3d.cli.hydra_start import run_hydra
from unet3d.cli.programs import trial

if __name__ == "__main__":
    run_hydra(trial, "sweep")
