import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from stickgen.cli import app
from stickgen.config import DataConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.dataset import open_dataset
from stickgen.data.file import open_clips, pack, shards, write_sequences
from stickgen.data.loader import StepPlan, make_loader
from stickgen.data.split import SPLITS
from stickgen.errors import ConfigError, DataError
from tests.data.packed_v1 import write_v1
from tests.random_clips import assert_same, random_sequence, random_sequences

INFO = {"text_encoder": {"id": "org/encoder", "dim": 32}, "fps": 25}


def some_sequences(count: int = 24) -> list[dict[str, Any]]:
    """Takes of three clips each, which shards divide; some pairs of figures, some cut, some without labels."""
    sequences = [
        random_sequence(4 + i % 5, seed=i, take=f"take {i // 3}", source="ab"[i % 2], quality_score=0.9)
        for i in range(count)
    ]
    sequences[5] |= {"motion": torch.randn(9, 2, 20), "actions": None, "physics": None}
    sequences[10]["actions"] = None
    return sequences


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file beside a folder of three shards of the same clips, in the same order."""
    sequences = some_sequences()
    write_sequences(tmp_path / "whole.safetensors", sequences, INFO)
    (tmp_path / "shards").mkdir()
    for name, part in (("a", sequences[:7]), ("b", sequences[7:8]), ("c", sequences[8:])):
        write_sequences(tmp_path / "shards" / f"{name}.safetensors", part, INFO)
    return tmp_path


@pytest.mark.parametrize("pattern", ["shards", "shards/*.safetensors", "sh*s/[abc].safetensors"])
def test_shards_hold_the_clips_of_one_file(folder: Path, pattern: str) -> None:
    (whole, info), (parts, record) = (
        open_clips(folder / name, max_frames=6) for name in ("whole.safetensors", pattern)
    )
    assert record == info
    assert parts.sequences == whole.sequences == 24
    assert len(parts.infos) == len(whole.infos) == 25
    for ours, theirs in zip(parts.infos, whole.infos, strict=True):
        assert_same(ours, theirs)
        assert_same(parts.load(ours.position), whole.load(theirs.position))
        assert parts.digest(ours.position) == whole.digest(theirs.position)
    pack(folder / pattern, folder / "again.safetensors")
    assert (folder / "again.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_runs_on_shards_have_the_splits_and_batches_of_one_file(folder: Path) -> None:
    settings = {"val_fraction": 0.2, "test_fraction": 0.2, "max_frames": 6, "conditions": ["partner"]}
    one, many = (
        ClipDataModule(DataConfig(path=str(folder / name), **settings), seed=3, accumulate=2)
        for name in ("whole.safetensors", "shards")
    )
    takes = []
    for part in SPLITS:
        ours, theirs = getattr(many.split, part).infos, getattr(one.split, part).infos
        assert [info.label for info in ours] == [info.label for info in theirs]
        takes.append({info.take for info in ours})
    assert sum(map(len, takes)) == len(set.union(*takes)), "a take in two shards is one take"
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for ours, theirs in zip(getattr(many, loader)(), getattr(one, loader)(), strict=True):
            assert_same(ours, theirs)


def test_the_record_names_every_shard_with_its_digest(folder: Path) -> None:
    split, report = open_dataset(DataConfig(path=str(folder / "shards")))
    files = json.loads(json.dumps(report.record(split)))["files"]
    assert list(files) == [str(folder / "shards" / f"{name}.safetensors") for name in "abc"]
    assert len(set(files.values())) == 3
    assert all(digest.startswith("sha256:") for digest in files.values())
    sequences = some_sequences()[8:]
    sequences[3]["motion"][1, 2] += 1
    write_sequences(folder / "shards" / "c.safetensors", sequences, INFO, overwrite=True)
    split, report = open_dataset(DataConfig(path=str(folder / "shards")))
    changed = report.record(split)["files"]
    assert [name for name in files if files[name] != changed[name]] == [str(folder / "shards" / "c.safetensors")]
    assert open_dataset(DataConfig())[1].files == {}


def test_takes_without_a_name_keep_to_their_shard(tmp_path: Path) -> None:
    sequences = [random_sequence(seed=i, meta={"take": "#1"} if i == 4 else {"split": None}) for i in range(6)]
    write_sequences(tmp_path / "whole.safetensors", sequences, INFO)
    for name, part in (("a", sequences[:3]), ("b", sequences[3:])):
        write_sequences(tmp_path / f"{name}.safetensors", part, INFO)
    store, _ = open_clips(tmp_path / "[ab].safetensors")
    assert [info.take for info in store.infos] == ["#0", "#1", "#2", "#3", "#4", "#5"]


def test_shards_of_both_versions_are_read_together(folder: Path) -> None:
    write_v1(folder / "shards" / "b.safetensors", some_sequences()[7:8], INFO)
    (whole, _), (parts, _) = (open_clips(folder / name) for name in ("whole.safetensors", "shards"))
    for ours, theirs in zip(parts.infos, whole.infos, strict=True):
        assert_same(ours, theirs)


def test_a_worker_maps_the_shards_itself(folder: Path) -> None:
    split, _ = open_dataset(DataConfig(path=str(folder / "shards")))
    sent = pickle.dumps(split.train)
    assert len(sent) < 2000
    for ours, theirs in zip(pickle.loads(sent), split.train, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_order_is_that_of_one_process_for_any_number_of_workers(folder: Path, workers: int) -> None:
    split, _ = open_dataset(DataConfig(path=str(folder / "shards")))
    loaders = [
        make_loader(StepPlan(split.train.infos, 2, 2, shuffle=True, seed=4), split.train, (), n) for n in (0, workers)
    ]
    for ours, theirs in zip(*loaders, strict=True):
        assert_same(ours, theirs)


def steps_of(plan: StepPlan, epoch: int) -> list[list[tuple[int, ...]]]:
    plan.set_epoch(epoch)
    steps: list[list[tuple[int, ...]]] = [[]]
    for micro_batch in plan:
        if micro_batch.counted:
            steps[-1].append(micro_batch.clips)
        if micro_batch.ends_step:
            steps.append([])
    return steps[:-1]


def test_two_devices_take_the_steps_of_one_and_one_goes_on_where_two_stopped(folder: Path) -> None:
    infos = open_dataset(DataConfig(path=str(folder / "shards")))[0].train.infos
    alone = steps_of(StepPlan(infos, 2, 2, shuffle=True, seed=4), epoch=1)
    both = [StepPlan(infos, 2, 2, shuffle=True, seed=4, rank=rank, processes=2) for rank in (0, 1)]
    for step, *parts in zip(alone, *(steps_of(plan, 1) for plan in both), strict=True):
        assert sorted(step) == sorted(clips for part in parts for clips in part)
    # Each of the two had one micro-batch of a step when they stopped after the second; alone, a step has two.
    resumed = StepPlan(infos, 2, 2, shuffle=True, seed=4)
    resumed.start = 2 * 2
    assert steps_of(resumed, 1) == alone[2:]


def test_curation_names_the_clips_of_all_shards(folder: Path) -> None:
    whole, _ = open_clips(folder / "whole.safetensors")
    lines = [f'  {whole.infos[at].label}: "{whole.digest(at)}"' for at in (2, 6, 20)]
    (folder / "curation.yaml").write_text("\n".join(["format: stickgen curation 1", "leave_out:", *lines]) + "\n")
    for name in ("whole.safetensors", "shards"):
        config = DataConfig(path=str(folder / name), curation=str(folder / "curation.yaml"))
        assert open_dataset(config)[1].dropped == {"flagged in data.curation": 3}


def test_mistakes_name_the_shard(folder: Path) -> None:
    shard = folder / "shards" / "b.safetensors"
    write_sequences(shard, random_sequences(3, width=16), INFO, overwrite=True)
    with pytest.raises(DataError, match=r"b\.safetensors: embeddings of 16 numbers, 32 expected as in .*a\.safeten"):
        open_clips(folder / "shards")
    write_sequences(shard, random_sequences(3), {"text_encoder": {"id": "org/other"}}, overwrite=True)
    with pytest.raises(DataError, match=r"b\.safetensors: captions embedded by org/other, in .* by org/encoder"):
        open_clips(folder / "shards")
    sequences = random_sequences(3)
    sequences[1]["motion"][2, 3] = torch.nan
    write_v1(shard, [*random_sequences(1), *random_sequences(2)], INFO, digest=None)
    content = bytearray(shard.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    begin += json.loads(content[8:begin])["motion"]["data_offsets"][0] + 4 * 20 * 8
    content[begin : begin + 4] = b"\xff\xff\xff\xff"
    shard.write_bytes(content)
    store, _ = open_clips(folder / "shards")
    with pytest.raises(DataError, match=r"b\.safetensors: clip 1: motion: finite numbers expected"):
        store.load(9)
    shard.write_bytes(b"hello")
    with pytest.raises(DataError, match=r"b\.safetensors: not a safetensors file, or damaged"):
        open_clips(folder / "shards")


def test_what_holds_no_shards_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "*.safetensors"):
        with pytest.raises(DataError, match=r"no packed files \(\.safetensors\) found; `stickgen pack` writes them"):
            open_clips(path)
    odd = tmp_path / "clips [1].safetensors"
    write_sequences(odd, random_sequences(3), {})
    assert shards(odd) is None, "a name with brackets that is a file's is no pattern"
    assert len(open_clips(odd)[0].infos) == 3


def test_pack_writes_a_shard_a_source(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_sequences(tmp_path / f"{name}.pt", random_sequences(3), INFO)
    arguments = ["pack", str(tmp_path / "one.pt"), str(tmp_path / "two.pt")]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "one.safetensors: 3 clips of 3 takes, 24 frames" in result.output.replace("\n", "")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["one.safetensors", "two.safetensors"]
    assert len(open_clips(tmp_path / "out")[0].infos) == 6
    assert CliRunner().invoke(app, [*arguments, str(tmp_path / "out")]).exit_code == 1, "existing shards are kept"
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "out.safetensors")])
    assert isinstance(result.exception, SystemExit | ConfigError)
    assert "a folder expected for 2 data files" in result.output + str(result.exception) + result.stderr
    (tmp_path / "again").mkdir()
    write_sequences(tmp_path / "again" / "one.pt", random_sequences(3), INFO)
    twice = ["pack", str(tmp_path / "one.pt"), str(tmp_path / "again" / "one.pt"), str(tmp_path / "new")]
    assert CliRunner().invoke(app, twice).exit_code == 1
    assert not (tmp_path / "new").exists()
