"""The names of a capsule's files."""

from __future__ import annotations

CARD = "README.md"  # as Hugging Face names a model card
RUN = "run/"  # what follows is as in the run's folder
HISTORY = "history.json"
DATA = "data.json"
CODE = "code/version.json"
CHANGES = "code/changes.diff"
PACKAGES = "environment/packages.txt"
MACHINE = "environment/machine.json"
LOCK = "environment/requirements.lock"
FINAL = "weights/final.npz"
INITIAL = "weights/initial.weights.h5"
OWN = "code/own/"  # source files of the user's own functions, by the setting that names them
