from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stickgen.config import DataConfig, ObjectiveConfig, SampleConfig
from stickgen.data.clips import Clip
from stickgen.data.datamodule import EVAL_BATCH_SIZE, ClipDataModule
from stickgen.data.dataset import open_dataset
from stickgen.data.file import write_sequences
from stickgen.errors import DataError
from stickgen.motion.skeleton import to_stick_5
from tests.random_clips import EMBEDDING_DIM, random_sequence, random_sequences


def module_of(folder: Path, sequences: list[dict[str, Any]], **config: Any) -> ClipDataModule:
    path = folder / "clips.pt"
    write_sequences(path, sequences, {"text_encoder": {"id": "org/encoder", "dim": EMBEDDING_DIM}}, overwrite=True)
    return ClipDataModule(DataConfig(path=str(path), **{"val_fraction": 0.2, "test_fraction": 0.2, **config}))


def clips_of(data: ClipDataModule) -> list[Clip]:
    split = data.split
    return sorted([*split.train, *split.val, *split.test], key=lambda clip: (clip.index, clip.actor))


def indices(data: ClipDataModule) -> list[int]:
    return [clip.index for clip in clips_of(data)]


def test_everything_is_kept_where_nothing_is_asked_for(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(10))
    assert indices(data) == list(range(10))
    assert data.report.sequences == data.report.clips == 10
    assert data.report.dropped == {}
    assert data.report.text_encoder["id"] == "org/encoder"
    assert data.report.source.endswith("clips.pt")


def test_the_record_counts_what_each_split_holds(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(12, lengths=(8, 5), source="cmu"))
    record = data.report.record(data.split)
    assert record["sequences"] == 12
    assert record["left_out"] == {}
    assert record["sources"] == {"cmu": 12}
    assert sum(part["frames"] for part in record["splits"].values()) == 6 * 8 + 6 * 5
    for name, part in record["splits"].items():
        clips = list(getattr(data.split, name))
        takes = {clip.take for clip in clips}
        assert part == {"clips": len(clips), "takes": len(takes), "frames": sum(len(clip.motion) for clip in clips)}


def test_a_run_can_keep_each_person_in_one_split(tmp_path: Path) -> None:
    sequences = [random_sequence(seed=i, meta={"take": str(i), "subject": "abcd"[i % 4]}) for i in range(16)]
    split = module_of(tmp_path, sequences, split_by="subject").split
    people = [{info.subject for info in part.infos} for part in (split.train, split.val, split.test)]
    assert sum(map(len, people)) == len(set.union(*people)) == 4


def test_the_quality_filter_keeps_the_threshold_itself_and_counts_what_it_drops(tmp_path: Path) -> None:
    scores = [0.9, 0.8, 0.79, None, 1.0, 0.0, 0.95, None]
    sequences = [random_sequence(seed=i, quality_score=score) for i, score in enumerate(scores)]
    kept = module_of(tmp_path, sequences, min_quality=0.8)
    assert indices(kept) == [0, 1, 3, 4, 6, 7]
    assert kept.report.dropped == {"below quality 0.8": 2}
    scored = module_of(tmp_path, sequences, min_quality=0.8, keep_unscored=False)
    assert indices(scored) == [0, 1, 4, 6]
    assert scored.report.dropped == {"below quality 0.8": 2, "without a quality score": 2}
    assert scored.report.clips == 4
    assert indices(module_of(tmp_path, sequences, min_quality=0.0)) == list(range(8))


def test_no_clip_left_names_the_settings_and_the_reasons(tmp_path: Path) -> None:
    sequences = [random_sequence(seed=i, quality_score=0.3 if i else None) for i in range(6)]
    data = module_of(tmp_path, sequences, min_quality=0.5, keep_unscored=False)
    with pytest.raises(DataError) as caught:
        data.split  # noqa: B018
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'clips.pt'}: no clip left of 6")
    for part in ("5 below quality 0.5", "1 without a quality score", "data.min_quality", "data.sources"):
        assert part in message
    with pytest.raises(DataError, match=r"no clip left of 6 \(6 of other sources\).*data\.sources"):
        module_of(tmp_path, sequences, sources=["amass"]).split  # noqa: B018


def test_only_clips_of_the_named_sources(tmp_path: Path) -> None:
    sources = ["amass", "100style", None, "amass", "interhuman", "amass"]
    sequences = [random_sequence(seed=i, source=source) for i, source in enumerate(sources)]
    data = module_of(tmp_path, sequences, sources=["amass", "interhuman"])
    assert indices(data) == [0, 3, 4, 5]
    assert data.report.dropped == {"of other sources": 2}


def test_clips_of_a_single_frame_are_left_out(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(6, lengths=(2, 1, 3)))
    assert indices(data) == [0, 2, 3, 5]
    assert data.report.dropped == {"of a single frame": 2}


def test_long_clips_are_cut_in_all_their_tracks(tmp_path: Path) -> None:
    sequences = [
        random_sequence(
            12, seed=i, motion=torch.randn(12, 2, 20), camera=torch.randn(12, 3), physics=torch.randn(12, 2, 6)
        )
        for i in range(4)
    ]
    for clip in clips_of(module_of(tmp_path, sequences, max_frames=5)):
        whole = sequences[clip.index]
        assert clip.partner is not None
        expected = {
            "motion": whole["motion"][:5, clip.actor],
            "partner": whole["motion"][:5, 1 - clip.actor],
            "actions": whole["actions"][:5],
            "physics": whole["physics"][:5, clip.actor],
            "camera": whole["camera"][:5],
        }
        for name, track in expected.items():
            torch.testing.assert_close(getattr(clip, name), track, rtol=0, atol=0)


def test_clips_up_to_the_limit_are_left_as_they_are(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(6, lengths=(7, 8, 9)), max_frames=8)
    assert [clip.length for clip in clips_of(data)] == [7, 8, 8, 7, 8, 8]


def test_few_training_clips_are_drawn_and_the_other_splits_stay(tmp_path: Path) -> None:
    sequences = random_sequences(20)
    whole = module_of(tmp_path, sequences).split
    drawn = {count: module_of(tmp_path, sequences, train_clips=count).split for count in (2, 5, len(whole.train))}
    names = {count: {clip.index for clip in split.train} for count, split in drawn.items()}
    assert [len(chosen) for chosen in names.values()] == [2, 5, len(whole.train)]
    assert names[2] < names[5] < {clip.index for clip in whole.train}
    for split in drawn.values():
        for part in ("val", "test"):
            assert [c.index for c in getattr(split, part)] == [c.index for c in getattr(whole, part)]
    with pytest.raises(DataError, match=r"data.train_clips=99: .* has \d+ training clips"):
        _ = module_of(tmp_path, sequences, train_clips=99).split


def test_large_figures_become_small_ones_where_asked(tmp_path: Path) -> None:
    sequences = [random_sequence(6, seed=i, motion=torch.randn(6, 2, 48)) for i in range(4)]
    for clip in clips_of(module_of(tmp_path, sequences, dim=20)):
        motion = sequences[clip.index]["motion"]
        torch.testing.assert_close(clip.motion, to_stick_5(motion[:, clip.actor]))
        torch.testing.assert_close(clip.partner, to_stick_5(motion[:, 1 - clip.actor]))
    for dim in (48, None):
        assert {clip.motion.shape[-1] for clip in clips_of(module_of(tmp_path, sequences, dim=dim))} == {48}


def test_a_file_of_both_figures_is_read_where_the_large_ones_are_reduced(tmp_path: Path) -> None:
    sequences = [random_sequence(6, seed=i, motion=torch.randn(6, 48 if i % 2 else 20)) for i in range(6)]
    clips = clips_of(module_of(tmp_path, sequences, dim=20))
    assert {clip.motion.shape[-1] for clip in clips} == {20}
    torch.testing.assert_close(clips[1].motion, to_stick_5(sequences[1]["motion"]))
    with pytest.raises(DataError, match=r"clip 1: motion is 48 wide, 20 expected as in clip 0; data\.dim=20"):
        module_of(tmp_path, sequences).split  # noqa: B018
    with pytest.raises(DataError, match=r"data\.dim=48: clip 0"):
        module_of(tmp_path, sequences, dim=48).split  # noqa: B018


def test_small_figures_do_not_become_large_ones(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(6), dim=48)
    with pytest.raises(DataError, match=r"data\.dim=48: clip 0 is a .*; only 48 numbers can become 20"):
        data.split  # noqa: B018


def test_narrow_embeddings_are_filled_up_with_zeros(tmp_path: Path) -> None:
    sequences = random_sequences(8)
    data = module_of(tmp_path, sequences)
    data.fit_to(20, 50)
    clips = clips_of(data)
    assert len(clips) == 8
    for clip in clips:
        assert clip.embedding.shape == (50,)
        torch.testing.assert_close(clip.embedding[:EMBEDDING_DIM], sequences[clip.index]["embedding"], rtol=0, atol=0)
        assert not clip.embedding[EMBEDDING_DIM:].any()
    data.fit_to(20, 50)
    assert next(iter(data.test_dataloader())).embedding.shape[1] == 50


def test_embeddings_wider_than_the_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clips\.pt: embeddings of 32 numbers, the base takes 31"):
        module_of(tmp_path, random_sequences(6)).fit_to(20, 31)


def test_frames_of_another_width_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"frames of 48 numbers, the base takes 20; data\.dim=20 reduces them"):
        module_of(tmp_path, random_sequences(6, dim=48)).fit_to(20, EMBEDDING_DIM)
    with pytest.raises(DataError, match=r"frames of 20 numbers, the base takes 48$"):
        module_of(tmp_path, random_sequences(6)).fit_to(48, EMBEDDING_DIM)


def test_a_label_beyond_the_bases_classes_is_refused(tmp_path: Path) -> None:
    sequences = random_sequences(6)
    for sequence in sequences:
        sequence["actions"] = sequence["actions"].clamp(max=45)
    module_of(tmp_path, sequences).fit_to(20, EMBEDDING_DIM, 46)
    sequences[4]["actions"][2] = 46
    with pytest.raises(DataError, match="clip 4: action 46, the base has 46 classes"):
        module_of(tmp_path, sequences).fit_to(20, EMBEDDING_DIM, 46)


def test_two_actors_are_each_others_partner_in_the_batches(tmp_path: Path) -> None:
    motion = torch.randn(5, 3, 20)
    motion[:, 1] = 0  # a filled-up slot
    sequences = [random_sequence(5, seed=0, motion=motion), *random_sequences(5)[1:]]
    data = module_of(tmp_path, sequences, conditions=["partner"])
    first, other = (clip for clip in clips_of(data) if clip.index == 0)
    assert (first.actor, other.actor) == (0, 2)
    torch.testing.assert_close(first.partner, motion[:, 2])
    torch.testing.assert_close(other.partner, motion[:, 0])
    assert data.report.sequences == 5
    assert data.report.clips == 6
    for batch in (*data.val_dataloader(), *data.train_dataloader()):
        assert batch.partner is not None
        assert batch.camera is None


def test_without_a_path_the_built_in_motion_is_used() -> None:
    data = ClipDataModule(DataConfig(sample=SampleConfig(clips=24, styles=["neutral"], actions=["walk", "wave"])))
    clips = clips_of(data)
    assert len(clips) == 24
    assert {clip.motion.shape[-1] for clip in clips} == {20}
    assert len({int(clip.actions[0]) for clip in clips if clip.actions is not None}) == 2
    assert data.report.source == "built-in sample motion"
    assert data.report.text_encoder["id"]
    large = ClipDataModule(DataConfig(sample=SampleConfig(clips=12), dim=48))
    assert {clip.motion.shape[-1] for clip in clips_of(large)} == {48}


def test_evaluation_batches_are_one_step_in_a_fixed_order(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(120), val_fraction=0.4)
    batches = list(data.val_dataloader())
    assert [b.motion.shape[1] for b in batches] == [EVAL_BATCH_SIZE] * 3
    assert [b.ends_step for b in batches] == [False, False, True]
    assert len({b.step_counts for b in batches}) == 1
    assert batches[0].step_counts.frames == sum(clip.length - 1 for clip in data.split.val)
    for batch, again in zip(batches, data.val_dataloader(), strict=True):
        torch.testing.assert_close(batch.motion, again.motion, rtol=0, atol=0)
    assert sum(b.motion.shape[1] for b in data.test_dataloader()) == len(data.split.test)


def test_training_batches_follow_the_settings(tmp_path: Path) -> None:
    module = module_of(tmp_path, random_sequences(30), batch_size=3)
    data = ClipDataModule(module.config, accumulate=2, seed=5, objective=ObjectiveConfig(feed_actions=1.0))
    batches = list(data.train_dataloader())
    assert [b.motion.shape[1] for b in batches] == [3] * 6
    assert [b.ends_step for b in batches] == [False, True] * 3
    assert all(b.feed_actions for b in batches)
    assert data.train_plan().steps == 3
    other = ClipDataModule(module.config, accumulate=2, seed=6)
    assert list(other.train_plan()) != list(data.train_plan())


def test_the_file_is_read_on_first_use_and_once(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(6))
    absent = ClipDataModule(DataConfig(path=str(tmp_path / "absent.pt")))
    assert data.split is data.split
    (tmp_path / "clips.pt").unlink()
    assert len(clips_of(data)) == 6
    with pytest.raises(DataError, match=r"absent\.pt"):
        absent.split  # noqa: B018


def progress(epoch: int, ready: int) -> Any:
    current = SimpleNamespace(ready=ready)
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=current)))
    return SimpleNamespace(current_epoch=epoch, fit_loop=loop)


def resumed(data: ClipDataModule, state: dict[str, int]) -> Any:
    data.load_state_dict(state)
    return data.train_dataloader()


def test_a_checkpoint_knows_the_place_in_the_epoch(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(30), batch_size=2)
    assert data.state_dict() == {"epoch": 0, "batch": 0}
    data.trainer = progress(epoch=3, ready=4)
    assert data.state_dict() == {"epoch": 3, "batch": 4, "processes": 1}


def test_a_resumed_epoch_goes_on_with_the_next_batch(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(30), batch_size=2)
    plan = data.train_plan()
    plan.set_epoch(3)
    whole = list(plan)
    loader = resumed(data, {"epoch": 3, "batch": 4})
    loader.sampler.set_epoch(3)  # as Lightning does
    assert list(loader.sampler) == whole[4:]


def test_a_checkpoint_at_the_end_of_an_epoch_goes_on_with_a_whole_next_one(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(30), batch_size=2)
    plan = data.train_plan()
    plan.set_epoch(4)
    following = list(plan)
    loader = resumed(data, {"epoch": 3, "batch": len(plan)})
    assert list(loader.sampler) == following
    loader = resumed(data, {"epoch": 4, "batch": 0})
    assert list(loader.sampler) == following


def test_loading_a_place_does_not_keep_hold_of_the_checkpoint(tmp_path: Path) -> None:
    data = module_of(tmp_path, random_sequences(6))
    state = {"epoch": 1, "batch": 1}
    data.load_state_dict(state)
    state["epoch"] = 9
    assert data.state_dict() == {"epoch": 1, "batch": 1}


def test_data_are_opened_once_until_the_file_changes(tmp_path: Path) -> None:
    """The jobs of a sweep follow each other in one process."""
    stores = []
    for sequences in (random_sequences(10), None, random_sequences(12)):
        if sequences is not None:
            data = module_of(tmp_path, sequences)
        stores.append(open_dataset(data.config)[0].train.store)
    assert stores[0] is stores[1]
    assert (len(stores[0].infos), len(stores[2].infos)) == (10, 12)
