"""The model card: from the files of a run alone, whatever they lack."""

from __future__ import annotations

from pathlib import Path

from tests.small import small_config
from unet3d.inference.export.model_card import model_card
from unet3d.run_folder import run_folder
from unet3d.tracking.facts import RunFacts, write_facts

ABOUT = {"input": {"channels": ["T1w"]}, "output": {"logits_of": ["whole"], "read_as": "softmax"}}
SUMMARY = "region,metric,n,mean,std,median\nwhole,dice,3,0.91,0.1,0.93\nwhole,iou,3,0.8,0.1,0.8\n"


def test_a_card_has_data_and_results_where_they_are_known(tmp_path: Path) -> None:
    """Test results only where the test cases were opened; what nobody knows is said so."""
    config, run = small_config(tmp_path), run_folder(tmp_path, "abc")
    run.path.mkdir(parents=True)
    card = model_card(config, ABOUT, run, "unet3d")
    assert "phantom: not recorded cases" in card and "unet3d evaluate run=abc" in card
    dataset = {"name": "scans", "digest": "0123", "cases": "3 train, 1 val, 1 test"}
    write_facts(run, RunFacts(name="best", tags={}, dataset=dataset))
    run.test.mkdir()
    (run.test / "summary.csv").write_text(SUMMARY)
    card = model_card(config, ABOUT, run, "unet3d")
    assert "\n---\n# best\n" in card and "scans: 3 train, 1 val, 1 test cases" in card
    assert "| whole | dice | 0.91 | 0.93 |" in card and "iou" not in card
    assert "not a medical device" in card
