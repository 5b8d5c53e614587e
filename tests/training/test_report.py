import io
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from stickgen.config import BaseConfig, LoRAConfig, TrainConfig
from stickgen.training.report import print_next
from tests.random_clips import clip_set, random_clip

LORA = LoRAConfig(targets={"mine": ["ffn"]})


def lines_after(folder: Path, lora: LoRAConfig, *captions: str) -> dict[str, list[str]]:
    """Return what is printed at a run's end: the words of each line, as a shell reads them, by its title."""
    data: Any = SimpleNamespace(
        split=SimpleNamespace(train=clip_set([random_clip(description=text) for text in captions]))
    )
    config = TrainConfig(base=BaseConfig(checkpoint="base.pth"), lora=lora, run_dir="run")
    printed = io.StringIO()
    print_next(Console(file=printed, width=40), config, data, folder)
    return {
        title: shlex.split(words) for title, words in (line.split(":", 1) for line in printed.getvalue().splitlines())
    }


def test_the_commands_after_a_run_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    caption = "it's a [bold]walk[/bold]\x1b[2J; rm -rf ~"
    lines = lines_after(
        tmp_path / "my runs" / "a", LORA, "", "a person who walks very slowly across the whole stage", caption
    )
    shown = "it's a [bold]walk[/bold][2J; rm -rf ~"
    assert lines["see"] == ["stickgen", "generate", shown, "--adapter", "my runs/a", "--out", "motion.gif"]
    assert lines["export"] == ["stickgen", "merge", "checkpoint=my runs/a", "output=merged_model.pth"]
    assert lines["run folder"] == ["my runs/a"]


def test_a_run_of_whole_weights_is_a_model_and_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = lines_after(tmp_path / "a", LoRAConfig(enabled=False))
    assert lines["see"] == ["stickgen", "generate", "a person walks", "--model", "a", "--out", "motion.gif"]
    assert lines["adapt"] == ["stickgen", "train", "base.checkpoint=a"]
