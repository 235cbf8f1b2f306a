"""What one GPU does with this package, in one command: python benchmarks/gpu_day.py --minutes 38

Each measurement is a process of its own, so one that crashes loses only itself. The results are
written to --out after each; a table ends the run. Needs neither Ray nor MLflow.
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
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MIXED = ("mixed_bfloat16", "mixed_float16")
BRAIN = (240, 240, 155)  # BraTS
Measurement = dict[str, Any]


def main() -> None:
    """Measure what fits in the minutes, the most informative first; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=38, help="begin nothing after these")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one measurement")
    parser.add_argument("--only", nargs="+", default=[], help="starts of names, such as step/96")
    parser.add_argument("--patch", type=int, nargs="+", default=[96, 128])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, a few steps")
    parser.add_argument("--out", type=Path, default=Path("gpu_day.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print("RESULT " + json.dumps(measure(json.loads(arguments.child))), flush=True)
        return
    end, rows = time.monotonic() + 60 * arguments.minutes, []
    for task in plan(arguments):
        if arguments.only and not task["name"].startswith(tuple(arguments.only)):
            continue
        if time.monotonic() > end:
            print(f"not begun, for want of time: {task['name']}")
            rows.append({**task, "error": "not begun, for want of time"})
        else:
            new = run(task, min(arguments.limit, end - time.monotonic() + 60))
            rows += new
            print("\n".join(line(row) for row in new), flush=True)
        partial = arguments.out.with_name(arguments.out.name + ".partial")
        partial.write_text(json.dumps(rows, indent=1))
        partial.replace(arguments.out)
    print("\n" + "\n".join(line(row) for row in rows))


def plan(arguments: argparse.Namespace) -> list[Measurement]:
    """All measurements, by what they tell."""
    smoke, sizes = arguments.smoke, [16] if arguments.smoke else arguments.patch
    base = {
        "kind": "step", "batch": 1 if smoke else arguments.batch, "steps": 2 if smoke else 20,
        "precision": "float32", "tf32": True, "xla": False, "norm": "batch", "read_every": 1,
        "deterministic": False, "limit_mb": None, "smoke": smoke,
    }  # fmt: skip
    tasks: list[Measurement] = []

    def add(name: str, size: int, **changes: Any) -> None:
        tasks.append({**base, "name": f"{name}/{size}", "patch": size, **changes})

    for size in sizes:
        for xla in (False, True):
            suffix = "+xla" if xla else ""
            add(f"step/float32+tf32{suffix}", size, xla=xla)
            for precision in MIXED:
                add(f"step/{precision}{suffix}", size, precision=precision, xla=xla)
            add(f"step/float32{suffix}", size, tf32=False, xla=xla)
    size = sizes[0]
    for norm in ("group", "instance", "none"):
        add(f"norm/{norm}", size, norm=norm, precision=MIXED[0])
        add(f"norm/{norm}+xla", size, norm=norm, precision=MIXED[0], xla=True)
    add("read/every-10", size, precision=MIXED[0], read_every=10)
    add("deterministic", size, deterministic=True, tf32=False)
    for limit in (None,) if smoke else (32_000,):
        add("trials/alone", size, limit_mb=limit)
        add("trials/two", size, limit_mb=limit, trials=2)
    for precision in ("float32", MIXED[0]):
        add(f"windows/{precision}", sizes[-1], kind="windows", precision=precision)
    return tasks


def run(task: Measurement, limit: float) -> list[Measurement]:
    """The rows of a measurement: of each of its processes, which wait for each other."""
    count = task.get("trials", 1)
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    deadline = time.monotonic() + limit
    with tempfile.TemporaryDirectory() as folder:
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(count):
                child = {**task, "meet": folder if count > 1 else None, "number": number}
                command = [sys.executable, __file__, "--child", json.dumps(child)]
                with (
                    Path(folder, f"{number}.out").open("wb") as out,
                    Path(folder, f"{number}.err").open("wb") as err,
                ):
                    processes.append(
                        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=err)
                    )
            while any(p.poll() is None for p in processes) and time.monotonic() < deadline:
                if any(p.poll() for p in processes):  # the others would wait for it in vain
                    break
                time.sleep(0.1)
        finally:
            late = time.monotonic() >= deadline
            for process in processes:
                process.kill()
                process.wait()
        return [
            {**task, **result(process.returncode, Path(folder, str(number)), late)}
            for number, process in enumerate(processes)
        ]


def result(status: int, files: Path, late: bool) -> Measurement:
    """What a child has printed, or why there is nothing."""
    printed = files.with_suffix(".out").read_text(errors="replace").splitlines()
    found = [text for text in printed if text.startswith("RESULT ")]
    if found and status == 0:
        return dict(json.loads(found[-1].removeprefix("RESULT ")))
    errors = files.with_suffix(".err").read_text(errors="replace").splitlines()
    error = "stopped at its limit" if late else f"exit status {status}"
    return {"error": error, "stderr": errors[-15:]}


def line(row: Measurement) -> str:
    """A row of the table; device, TensorFlow, precision and XLA are in each."""
    if "error" in row:
        last = (row.get("stderr") or [""])[-1][:80]
        return f"{row['name']:<34} FAILED: {row['error']} {last}"
    about = f"{row['device']} TF {row['tensorflow']} {row['precision']} xla={row['xla']}"
    loss = row["measured"].get("last_loss", 0.0)
    broken = "" if math.isfinite(loss) else " BROKEN: the loss is not a number"
    values = " ".join(f"{k}={v:.4g}" for k, v in row["measured"].items() if v is not None)
    return f"{row['name']:<34} {values} | {about} tf32={row['tf32']}{broken}"


def measure(task: Measurement) -> Measurement:
    """In the child: the device and what was measured on it."""
    import keras
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if task["limit_mb"]:
            part = tf.config.LogicalDeviceConfiguration(memory_limit=task["limit_mb"])
            tf.config.set_logical_device_configuration(gpu, [part])
        else:
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(task["tf32"])
    keras.mixed_precision.set_global_policy(task["precision"])
    keras.utils.set_random_seed(0)
    if task["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    measured = step(task, bool(gpus)) if task["kind"] == "step" else windows(task)
    device = details.get("device_name", "CPU")
    return {"device": device, "tensorflow": tf.__version__, "measured": measured}


def network(task: Measurement) -> tuple[Any, Any, Any]:
    """The settings of conf/ with the task's, their targets of three regions, and the network."""
    from unet3d.config.compose import compose_config
    from unet3d.models import build_model
    from unet3d.sampling.targets import make_targets

    config = compose_config(
        [
            "tracking=none",
            f"data.patch={[task['patch']] * 3}",
            f"batch_size={task['batch']}",
            f"precision={task['precision']}",
            f"model.norm={task['norm']}",
        ]
    )
    targets = make_targets(config.data, {0: "background", 1: "edema", 2: "core", 3: "enhancing"})
    model = build_model(config.model, channels=4, outputs=len(targets.names), seed=0)
    return config, targets, model


def step(task: Measurement, gpu: bool) -> dict[str, float | None]:
    """The package's training step on one batch that stays on the device."""
    import tensorflow as tf

    from unet3d.planning.patch import step_bytes
    from unet3d.training.optimizer import make_optimizer
    from unet3d.training.schedule import make_schedule
    from unet3d.training.state import make_state
    from unet3d.training.step import make_train_step

    config, targets, model = network(task)
    schedule = make_schedule(config.schedule, config.lr, 250, config.epochs)
    optimizer = make_optimizer(config.optimizer, schedule)
    scaled = task["precision"] == "mixed_float16"
    state = make_state(model, optimizer, scaled=scaled, ema=None)
    train = make_train_step(state, config, targets, tf.distribute.get_strategy(), xla=task["xla"])
    shape = (task["batch"], *[task["patch"]] * 3)
    images = tf.random.stateless_normal((*shape, 4), (0, 1))
    labels = tf.cast(tf.random.stateless_uniform(shape, (0, 2), 0, 4, tf.int32), tf.uint8)
    start = time.perf_counter()
    _ = train(images, labels).loss
    first = time.perf_counter() - start
    for _ in range(1 if task["smoke"] else 5):
        _ = train(images, labels).loss
    meet(task)
    times, pending, last = [], 0, None
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(task["steps"]):
            last = train(images, labels)
            pending += 1
            if pending == task["read_every"]:
                _ = last.loss
                pending = 0
        assert last is not None
        _ = last.loss
        times.append((time.perf_counter() - start) / task["steps"])
    assert last is not None
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9 if gpu else None
    return {
        "ms_per_step": 1000 * median(times),
        "slowest_ms": 1000 * max(times),
        "patches_per_s": task["batch"] / median(times),
        "first_step_s": first,
        "peak_gb": peak,
        "predicted_gb": step_bytes(config, model, task["batch"])([task["patch"]] * 3) / 1e9,
        "last_loss": last.loss,
    }


def meet(task: Measurement) -> None:
    """Wait until all trials that are measured together have compiled their step."""
    if task["meet"]:
        Path(task["meet"], f"{task['number']}.ready").touch()
        while len(list(Path(task["meet"]).glob("*.ready"))) < task["trials"]:
            time.sleep(0.01)


def windows(task: Measurement) -> dict[str, float | None]:
    """Segmentation of one whole case by overlapping windows, as validation does it."""
    import numpy as np
    import tensorflow as tf

    from unet3d.inference.predictor import make_predictor
    from unet3d.inference.sliding_window import axis_starts, sliding_window

    config, targets, model = network(task)
    patch, shape = [task["patch"]] * 3, (24, 24, 24) if task["smoke"] else BRAIN
    predictor = make_predictor(model, tf.distribute.get_strategy(), 1, task["batch"])
    image = np.random.default_rng(0).normal(size=(*shape, 4)).astype(np.float32)
    blank: np.ndarray = np.zeros((task["batch"], *patch, 4), np.float32)
    start = time.perf_counter()
    predictor.logits(blank)
    first = time.perf_counter() - start
    overlap, times = config.validation.overlap, []
    for _ in range(3):
        start = time.perf_counter()
        sliding_window(
            predictor.logits, image, patch, outputs=len(targets.names), overlap=overlap,
            batch_size=task["batch"],
        )  # fmt: skip
        times.append(time.perf_counter() - start)
    padded = [max(size, side) for size, side in zip(shape, patch, strict=True)]
    count = int(np.prod([len(starts) for starts in axis_starts(padded, patch, overlap)]))
    seconds = median(times)
    return {"case_s": seconds, "windows_per_s": count / seconds, "first_window_s": first}


if __name__ == "__main__":
    main()
