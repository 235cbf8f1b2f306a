"""Validation on the device: the host's results, on any number of replicas, from one trace."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import REPOSITORY
from tests.small import small_config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.inference.predictor import make_predictor
from unet3d.losses import make_loss
from unet3d.metrics import dice
from unet3d.training import validate
from unet3d.training.figures import predict_case, segment
from unet3d.training.setup import Setup, make_setup
from unet3d.training.validate import CaseResult, Validation

SMALL = ("model.filters=2", "model.depth=1", "validation.overlap=0.5")


def on_the_host(setup: Setup, case: str) -> CaseResult:
    """By NumPy's sliding window, and by counting masks."""
    predictor = make_predictor(setup.state.model, tf.distribute.get_strategy(), 1, 2)
    logits = predict_case(predictor, setup.store, case, setup.targets, setup.config)
    truth = setup.targets.encode(setup.store.label(case))
    loss = make_loss(setup.config.loss, setup.targets.exclusive)(truth[None], logits[None])
    masks = segment(logits, setup.targets.exclusive)
    return CaseResult(case, float(loss[0]), dice(truth > 0, masks))


def check_equal(found: CaseResult, expected: CaseResult, **tolerance: float) -> None:
    assert found.case == expected.case
    assert found.loss == pytest.approx(expected.loss, **(tolerance or {"rel": 1e-5}))
    np.testing.assert_allclose(found.dice, expected.dice, atol=1e-4)


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.patch=[8,12,16]"],
        ["data.patch=[8,12,16]", "validation.batch_size=4", "data.dtype=bfloat16"],
        ["data.patch=[16,16,16]", "data.target=classes", "model.deep_supervision=true"],
        ["data.patch=null", "batch_size=1"],
        ["data.patch=[16,16,16]", "validation.overlap=0", "validation.batch_size=3", "loss=dice"],
    ],
)
def test_the_host_finds_the_same(tmp_path: Path, overrides: list[str]) -> None:
    """Loss and Dice of volumes of whatever shape, with windows that do not fill a batch."""
    setup = make_setup(small_config(tmp_path, *SMALL, *overrides), SINGLE_WORKER)
    cases = sorted(setup.store.cases)
    found = [result for group in Validation(setup).results(cases) for result in group]
    assert len(found) == len(cases)
    for result in found:
        expected = on_the_host(setup, result.case)
        assert expected.dice.min() < 1 and np.isfinite(expected.loss)
        check_equal(result, expected)


class Shapes:
    """A store of three volumes of different shapes, the first smaller than the patch."""

    def __init__(self, store: Any):
        self.store, self.channels, self.cases = store, store.channels, ("a", "b", "c")

    def image(self, case: str) -> np.ndarray:
        return self._of(case, self.store.image)

    def label(self, case: str) -> np.ndarray:
        return self._of(case, self.store.label)

    def _of(self, case: str, read: Any) -> np.ndarray:
        size = {"a": (9, 20, 7), "b": (20, 24, 17), "c": (27, 13, 22)}[case]
        whole: np.ndarray = read(sorted(self.store.cases)[0])
        return np.ascontiguousarray(whole[tuple(slice(n) for n in size)])


def test_volumes_of_all_shapes_share_one_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace costs seconds; and volumes smaller than a patch are padded as on the host."""
    traces = 0

    def counted(*arguments: Any) -> Any:
        nonlocal traces
        loss = make_loss(*arguments)

        def one(*values: Any) -> Any:
            nonlocal traces
            traces += 1
            return loss(*values)

        return one

    monkeypatch.setattr(validate, "make_loss", counted)
    setup = make_setup(small_config(tmp_path, *SMALL, "data.patch=[8,12,16]"), SINGLE_WORKER)
    setup = replace(setup, store=Shapes(setup.store))  # type: ignore[arg-type]
    (a,), (b,), (c,) = Validation(setup).results("abc")
    assert traces == 1
    for result in (a, b, c):
        check_equal(result, on_the_host(setup, result.case))


TWO_REPLICAS = """
import sys
from pathlib import Path
from tests.small import small_config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.training.setup import make_setup
from unet3d.training.validate import Validation

setup = make_setup(small_config(Path(sys.argv[1]), *sys.argv[2:]), SINGLE_WORKER)
cases = sorted(setup.store.cases)[:3]
groups = list(Validation(setup).results(cases))
print("groups", [len(group) for group in groups])
for group in groups:
    for result in group:
        print("case", result.case, repr(result.loss), *result.dice.tolist(), *result.own.tolist())
"""


def test_replicas_share_the_cases(tmp_path: Path) -> None:
    """Two devices take three cases in two turns, and find what one finds."""
    found = []
    own = "validation.metrics={overlap: tests.training.some_metrics.overlap}"
    for parallel in ((), ("parallel=data", "parallel.devices=2")):
        done = subprocess.run(
            [sys.executable, "-c", TWO_REPLICAS, str(tmp_path), *SMALL, own, *parallel],
            env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines()]
        groups = next(" ".join(line) for line in lines if line[0] == "groups")
        assert groups == ("groups [2, 1]" if parallel else "groups [1, 1, 1]")
        found.append({line[1]: [float(v) for v in line[2:]] for line in lines if line[0] == "case"})
    one, two = found
    assert len(one) == 3 and one.keys() == two.keys()
    for case in one:
        np.testing.assert_allclose(one[case], two[case], rtol=1e-5)
        np.testing.assert_allclose(two[case][1:4], two[case][4:], rtol=1e-5)  # Dice, and own
