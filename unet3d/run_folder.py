"""The folder of a run, and the name of every file in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TUNED = "tuned.json"  # what `unet3d tune` has chosen, for a run or for a sweep's configuration
TEST = "test"


@dataclass(frozen=True)
class RunFolder:
    """<output_dir>/runs/<run id>; its files may not exist yet."""

    path: Path

    @property
    def run_id(self) -> str:
        """The id of the run, in MLflow as well."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The settings that the run started with."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """The cases of each part, and the identity of their files when the run began."""
        return self.path / "split.json"

    @property
    def state(self) -> Path:
        """Whether it runs, in which process, or how it ended; touched while that process lives."""
        return self.path / "state.json"

    @property
    def attempts(self) -> Path:
        """How often a scheduler's job has begun at the step that the run has reached."""
        return self.path / "attempts.json"

    @property
    def description(self) -> Path:
        """The network's input sequences and output labels, in the Decathlon's format."""
        return self.path / "dataset.json"

    @property
    def facts(self) -> Path:
        """Name, tags and end of the run, as they are in the tracking store."""
        return self.path / "record.json"

    @property
    def packages(self) -> Path:
        """The packages that were installed when the run began, a name==version a line."""
        return self.path / "packages.txt"

    @property
    def code_changes(self) -> Path:
        """What the code had beside its commit when the run began; missing for nothing."""
        return self.path / "code.diff"

    @property
    def log(self) -> Path:
        """The log lines of all attempts."""
        return self.path / "train.log"

    @property
    def checkpoints(self) -> Path:
        """The folder of the weights and of the state to resume from."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The state to resume from."""
        return self.checkpoints / "last.npz"

    @property
    def previous_checkpoint(self) -> Path:
        """The state of the checkpoint before, for where the last one is damaged."""
        return self.checkpoints / "previous.npz"

    @property
    def best_weights(self) -> Path:
        """The weights with the highest val/dice, for keras.Model.load_weights."""
        return self.checkpoints / "best.weights.h5"

    @property
    def case_scores(self) -> Path:
        """Loss and Dice of each validation case with the best weights."""
        return self.path / "validation.csv"

    @property
    def half_written(self) -> list[Path]:
        """What kills of earlier versions have left among the checkpoints."""
        patterns = (".last.npz.*.tmp", ".best.weights.h5")
        return [path for pattern in patterns for path in self.checkpoints.glob(pattern)]

    @property
    def learning_curves(self) -> Path:
        """The picture of loss and Dice over the epochs."""
        return self.path / "figures" / "learning_curves.png"

    @property
    def validation_overlays(self) -> Path:
        """The picture of predictions beside the truth."""
        return self.path / "figures" / "validation.png"

    @property
    def test(self) -> Path:
        """The folder of what `unet3d evaluate run=<id>` writes."""
        return self.path / TEST

    @property
    def tuned(self) -> Path:
        """The thresholds and post-processing that `unet3d tune run=<id>` has chosen."""
        return self.path / TUNED

    @property
    def trace(self) -> Path:
        """The folder of a profile, for TensorBoard."""
        return self.path / "trace"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"


def run_folder(output_dir: str | Path, run_id: str) -> RunFolder:
    """The folder of run `run_id` among the runs of `output_dir`."""
    return RunFolder(Path(output_dir) / "runs" / run_id)
