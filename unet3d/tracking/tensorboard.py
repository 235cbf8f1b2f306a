"""tracking.tensorboard=true: the metrics of each epoch as TensorBoard's event files, too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unet3d.tracking.tracker import Tracker

log = logging.getLogger(__name__)


class TensorBoardTracker:
    """Writes scalars beside what `tracker` records; `folder` is for `tensorboard --logdir`.

    TensorFlow writes the files itself; only looking at them needs the package `tensorboard`.
    """

    def __init__(self, tracker: Tracker, folder: Path):
        import tensorflow as tf

        self.tracker, self.folder = tracker, folder
        self.writer: Any = tf.summary.create_file_writer(str(folder))
        self.seen: set[int] = set()

    def set_tags(self, tags: dict[str, str]) -> None:
        """Pass tags on."""
        self.tracker.set_tags(tags)

    def log_dataset(self, dataset: dict[str, str]) -> None:
        """Pass a data set on."""
        self.tracker.log_dataset(dataset)

    def log_epoch(self, record: dict[str, Any]) -> None:
        """Write the metrics of an epoch, once, and pass them on."""
        if record["epoch"] not in self.seen:
            self.seen.add(record["epoch"])
            self._write(record)
        self.tracker.log_epoch(record)

    def log_end(self, record: Callable[[], dict[str, Any]]) -> None:
        """Pass the last record on; it is of the process, not of an epoch."""
        self.tracker.log_end(record)

    def log_artifact(self, path: Path, folder: str) -> None:
        """Pass a file on."""
        self.tracker.log_artifact(path, folder)

    def finish(self, status: str, reason: str = "") -> None:
        """Close the files, and end the run."""
        self.writer.close()
        self.tracker.finish(status, reason)

    def _write(self, record: dict[str, Any]) -> None:
        import tensorflow as tf

        scalar = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class="DATA_CLASS_SCALAR",
        )
        try:
            with self.writer.as_default():
                for name, value in record["metrics"].items():
                    tensor = tf.constant(value, tf.float32)
                    tf.summary.write(name, tensor, step=record["epoch"], metadata=scalar)
            self.writer.flush()
        except (tf.errors.OpError, OSError) as error:  # of the disk: the training goes on
            log.warning("tracking.tensorboard: %s is not written (%s)", self.folder, error)
