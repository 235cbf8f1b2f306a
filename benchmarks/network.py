"""How much of sending gradients a step hides, by bandwidth: python benchmarks/network.py

Two workers of one core each, on nodes of network namespaces (tests/rig, simulated: needs root and
iproute2), train the default job over a link with and without a limit, in turn: a step of one's own
share alone, a step that sends all gradients in one pack at its end, and the step of today. The
ring's ideal is the time that the gradients' bytes take on the link. The goal is a step of 1.15
times the larger of computing alone and that ideal.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # for tests.rig

from tests.rig.rig import Rig, environment, rig  # noqa: E402

LIMITS = [0, 1000, 100]  # Mbit/s; 0: none
ONE_PACK = 1e6  # MB
GOAL = 1.15
COLUMNS = ("alone", "all-reduce", "ideal", "one pack", "packs", "bfloat16")


def main() -> None:
    """Print a row for each limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of 10 steps of each kind")
    parser.add_argument("overrides", nargs="*", help="of train.py")
    arguments = parser.parse_args()
    with workers_on_nodes(2, arguments.rounds, arguments.overrides) as measure:
        print("two workers of a core each on simulated nodes; ms, the slower worker's median")
        print("".join(f"{name:>14}" for name in ("Mbit/s", *COLUMNS, "/ larger")), flush=True)
        for limit in LIMITS:
            print_row(limit, measure(limit))


@contextmanager
def workers_on_nodes(
    count: int, rounds: int, overrides: list[str]
) -> Iterator[Callable[[int], dict[str, float]]]:
    """Workers on nodes of their own; yields what measures at a limit in Mbit/s, 0 for none.

    It returns milliseconds by name, of the slowest worker, and the bytes of the gradients.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prepare(folder, overrides)
        cluster = stack.enter_context(rig(count, slurm=False))
        workers = []
        for rank in range(count):
            options = [f"--worker={rank}/{count}", f"--folder={folder}", f"--rounds={rounds}"]
            workers.append(stack.enter_context(start(cluster, rank, folder, options, overrides)))
            stack.callback(workers[-1].kill)

        def measure(limit: int) -> dict[str, float]:
            cluster.limit(limit)
            found = ask(workers, folder)
            return {name: max(of[name] for of in found) for name in found[0]}

        yield measure


def print_row(limit: int, found: dict[str, float]) -> None:
    """The figures of one limit, and today's step as a ratio that GOAL is for."""
    found["ideal"] = found.pop("bytes") * 8 / (limit * 1000) if limit else 0.0
    row = "".join(f"{found[name]:>14.1f}" for name in COLUMNS)
    ratio = found["packs"] / max(found["alone"], found["ideal"])
    print(f"{limit or 'no limit':>14}{row}{ratio:>14.3f}  (goal {GOAL})", flush=True)


def prepare(folder: Path, overrides: list[str]) -> None:
    """Preprocess, so that no worker does it within its time."""
    data = [text for text in overrides if text.startswith("data")]
    command = [sys.executable, "-m", "unet3d.cli", "preprocess", f"output_dir={folder}", *data]
    subprocess.run(command, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)


def start(
    cluster: Rig, rank: int, folder: Path, options: list[str], overrides: list[str]
) -> subprocess.Popen[str]:
    """A worker on its node, which measures at each line that it reads."""
    return subprocess.Popen(
        cluster.on(f"n{rank + 1}", sys.executable, __file__, *options, *overrides),
        cwd=REPOSITORY,
        env={**environment(), "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / f"worker{rank}.log").open("w"),
        text=True,
    )


def ask(workers: list[subprocess.Popen[str]], folder: Path) -> list[dict[str, float]]:
    """What the workers measure, both at once; ends with a worker's last lines where it fails."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    found = []
    for rank, worker in enumerate(workers):
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            sys.exit((folder / f"worker{rank}.log").read_text()[-2000:])
        found.append(json.loads(line))
    return found


Step = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Worker:
    """One of them, with its steps, all compiled."""

    setup: Any
    batches: Iterator[Any]  # of its share
    steps: dict[str, Step]  # of all workers together
    alone_batches: Iterator[Any]
    alone: Step

    @classmethod
    def make(cls, arguments: argparse.Namespace) -> Worker:
        """As a worker of `train.py parallel=data nodes=...` is made."""
        rank, count = map(int, arguments.worker.split("/"))
        addresses = [f"10.99.0.{index + 1}:7700" for index in range(count)]
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        )
        from unet3d.config.compose import compose_config
        from unet3d.distributed.worker import WorkerContext
        from unet3d.training.setup import make_setup

        settings = [f"output_dir={arguments.folder}", "tracking=none", "threads=1"]
        settings += ["data.workers=1", "parallel=data", f"nodes={count}", "epochs=1000"]
        config = compose_config([*settings, *arguments.overrides])
        setup = make_setup(config, WorkerContext(rank, workers=count))
        from unet3d.training.batches import distributed_batches

        alone = alone_setup(setup)
        kinds: dict[str, dict[str, Any]] = {"one pack": {"pack_mb": ONE_PACK}, "packs": {}}
        kinds["bfloat16"] = {"compression": "bfloat16"}
        worker = cls(
            setup,
            distributed_batches(setup, 0),
            {name: make_step(setup, **kind) for name, kind in kinds.items()},
            distributed_batches(alone, 0),
            make_step(alone),
        )
        worker.round()  # compiles
        return worker

    def round(self) -> dict[str, list[float]]:
        """Milliseconds of 9 steps of each kind, in turn."""
        found = {"alone": self.timed(self.alone, self.alone_batches)}
        return found | {k: self.timed(step, self.batches) for k, step in self.steps.items()}

    def timed(self, step: Step, batches: Iterator[Any]) -> list[float]:
        """Milliseconds of each of 10 steps but the first, each read when the next has begun."""
        from unet3d.distributed.strategy import sum_over_workers

        sum_over_workers(np.zeros(1), self.setup.strategy, self.setup.worker)  # both begin now
        seconds, last = [], None
        for _ in range(10):
            begun = time.perf_counter()
            measured = step(*next(batches))
            if last:
                float(last.loss)
            last = measured
            seconds.append(time.perf_counter() - begun)
        return [1000 * each for each in seconds[1:]]


def alone_setup(setup: Any) -> Any:
    """One worker's share of the batch, on its own devices, without a strategy."""
    import tensorflow as tf

    from unet3d.distributed.worker import SINGLE_WORKER
    from unet3d.models import build_model
    from unet3d.training.optimizer import make_optimizer
    from unet3d.training.schedule import make_schedule
    from unet3d.training.state import make_state

    share = setup.config.batch_size // setup.worker.workers
    config = replace(setup.config, batch_size=share, nodes=1)
    model = build_model(
        config.model,
        channels=len(setup.store.channels),
        outputs=len(setup.targets.names),
        seed=config.seed,
    )
    schedule = make_schedule(config.schedule, config.lr, 100, config.epochs)
    optimizer = make_optimizer(config.optimizer, schedule)
    return replace(
        setup,
        config=config,
        stream=replace(setup.stream, batch_size=share),
        strategy=tf.distribute.get_strategy(),
        state=make_state(model, optimizer, scaled=False, ema=None),
        worker=SINGLE_WORKER,
    )


def make_step(setup: Any, **parallel: Any) -> Step:
    """The training step with these settings of `parallel`."""
    from unet3d.training.step import make_train_step

    config = replace(setup.config, parallel=replace(setup.config.parallel, **parallel))
    return make_train_step(setup.state, config, setup.targets, setup.strategy)


def answer(worker: Worker, rounds: int) -> None:
    """Measure at each line of stdin, and print the figures as a line of JSON."""
    from unet3d.distributed.all_reduce import time_all_reduce

    setup = worker.setup
    model, one_pack = setup.state.model, replace(setup.config.parallel, pack_mb=ONE_PACK)
    for _ in sys.stdin:
        found = [worker.round() for _ in range(rounds)]
        figures = {k: median(ms for each in found for ms in each[k]) for k in found[0]}
        figures["all-reduce"] = time_all_reduce(model, setup.strategy, one_pack)
        figures["bytes"] = sum(4 * math.prod(w.shape) for w in model.trainable_variables)
        print(json.dumps(figures), flush=True)
    os._exit(0)  # TensorFlow's server has no end of its own


def serve() -> None:
    """What each worker's process runs."""
    parser = argparse.ArgumentParser()
    for option in ("--worker", "--folder", "--rounds"):
        parser.add_argument(option, type=int if option == "--rounds" else str)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    answer(Worker.make(arguments), arguments.rounds)


if __name__ == "__main__":
    serve() if any(text.startswith("--worker") for text in sys.argv) else main()
