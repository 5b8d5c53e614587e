from typing import Any

import pytest
import torch

from stickgen.data.clips import Clip
from stickgen.data.sequences import SequenceClips, clips_from_sequences
from stickgen.errors import DataError


def sequence(frames: int = 6, dim: int = 20, actors: int | None = None, **changes: Any) -> dict[str, Any]:
    shape = (frames, dim) if actors is None else (frames, actors, dim)
    motion = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    return {"description": "a walk", "motion": motion, "embedding": torch.ones(8), **changes}


def clips(*sequences: Any) -> list[Clip]:
    return clips_from_sequences(sequences, "clips.pt")


def test_what_is_not_there_is_none() -> None:
    for spare in ({}, dict.fromkeys(("actions", "physics", "camera", "quality_score", "meta", "source", "face"))):
        (clip,) = clips(sequence(**spare))
        assert clip.actions is clip.physics is clip.camera is clip.partner is clip.quality is clip.split is None
        assert clip.source == ""
        assert clip.take == "#0"
        assert clip.length == 6


def test_everything_is_read() -> None:
    (clip,) = clips(
        sequence(
            actions=torch.full((6,), 3),
            physics=torch.ones(6, 6),
            camera=torch.ones(6, 3),
            quality_score=0.75,
            source="cmu",
            meta={"take": "01_01", "split": "val", "style": "tired"},
        )
    )
    assert clip.actions is not None
    assert clip.actions.tolist() == [3] * 6
    assert clip.physics is not None
    assert clip.camera is not None
    assert (clip.quality, clip.source, clip.take, clip.split) == (0.75, "cmu", "01_01", "val")
    assert clip.style == "tired"
    assert clips(sequence(meta={"style": 3}))[0].style == ""


def test_quality_of_the_annotations() -> None:
    assert clips(sequence(annotations={"quality": {"score": 0.5}}))[0].quality == 0.5
    assert clips(sequence(annotations={"quality": {"score": 0.5}}, quality_score=0.9))[0].quality == 0.9
    assert clips(sequence(annotations={"quality": None}))[0].quality is None


def test_other_widths_of_numbers_become_float32_and_int64() -> None:
    (clip,) = clips(sequence(motion=torch.ones(6, 20, dtype=torch.float64), actions=torch.ones(6, dtype=torch.int32)))
    assert clip.motion.dtype == torch.float32
    assert clip.actions is not None
    assert clip.actions.dtype == torch.int64


def test_actors_become_clips_that_stay_together() -> None:
    several = sequence(actors=3, actions=torch.arange(18).reshape(6, 3), physics=torch.ones(6, 3, 6))
    first, second, third = clips(several)
    assert [clip.actor for clip in (first, second, third)] == [0, 1, 2]
    assert {clip.take for clip in (first, second, third)} == {"#0"}
    assert second.actions is not None
    assert second.actions.tolist() == [1, 4, 7, 10, 13, 16]
    torch.testing.assert_close(third.motion, several["motion"][:, 2])
    assert first.partner is None
    assert [info.label for info in SequenceClips([several], "clips.pt").infos] == [
        "clip 0",
        "clip 0 actor 1",
        "clip 0 actor 2",
    ]


def test_two_moving_actors_are_partners_and_padding_is_dropped() -> None:
    padded = sequence(actors=3)
    padded["motion"][:, 1] = 0
    first, other = clips(padded)
    assert (first.actor, other.actor) == (0, 2)
    assert first.partner is not None
    assert other.partner is not None
    torch.testing.assert_close(first.partner, other.motion)
    torch.testing.assert_close(other.partner, first.motion)
    with pytest.raises(DataError, match="every actor is zero"):
        clips(sequence(motion=torch.zeros(6, 2, 20)))


def test_labels_shared_by_all_actors() -> None:
    for clip in clips(sequence(actors=2, actions=torch.full((6,), 4))):
        assert clip.actions is not None
        assert clip.actions.tolist() == [4] * 6


@pytest.mark.parametrize("actors", [2, 6])
def test_as_many_actors_as_frames_or_physics_columns(actors: int) -> None:
    found = clips(
        sequence(frames=6, actors=actors, physics=torch.ones(6, actors, 6), actions=torch.ones(6, actors).long())
    )
    assert all(clip.physics is not None and clip.physics.shape == (6, 6) for clip in found)
    assert all(clip.actions is not None and clip.actions.shape == (6,) for clip in found)


NAN = torch.full((6, 20), float("nan"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion": None}, "motion: a tensor expected, none found"),
        ({"motion": [[0.0] * 20]}, "motion: a tensor expected, list found"),
        ({"motion": torch.ones(6, 20).long()}, "motion: torch.float32 expected, torch.int64 found"),
        ({"motion": torch.ones(20)}, r"\[T, D\] or \[T, A, D\] expected, \[20\] found"),
        ({"motion": torch.ones(6, 21)}, "21 numbers a frame; 20 or 48"),
        ({"motion": torch.ones(0, 20)}, "motion is empty"),
        ({"motion": NAN}, "motion: finite numbers expected, NaN or infinity found at position 0"),
        (
            {"motion": torch.full((6, 20), 1e300, dtype=torch.float64)},
            r"finite .* 1e\+300, beyond torch.float32, found",
        ),
        ({"embedding": torch.full((8,), torch.inf)}, "embedding: finite numbers expected"),
        ({"embedding": torch.tensor(1.0)}, r"embedding: shape \[E\] expected, \[\] found"),
        ({"motion": torch.ones(6, 20).to_sparse()}, "motion: a plain tensor expected, a sparse one found"),
        ({"actions": torch.ones(6).long().to_sparse()}, "actions: a plain tensor expected, a sparse one found"),
        ({"motion": torch.ones(6, 20, device="meta")}, "motion: a plain tensor expected, a meta one found"),
        ({"motion": torch.ones(6, 20, dtype=torch.complex64)}, "motion: torch.float32 expected, torch.complex64 found"),
        ({"actions": torch.ones(6, dtype=torch.bool)}, "actions: torch.int64 expected, torch.bool found"),
        ({"embedding": None}, "embedding: a tensor expected"),
        ({"embedding": torch.ones(1, 8)}, r"embedding: shape \[E\] expected, \[1, 8\] found"),
        ({"description": None}, "description: a string expected"),
        ({"actions": torch.full((6,), 64)}, "0 to 63 expected, 64 found"),
        ({"actions": torch.full((6,), -1)}, "-1 found"),
        ({"actions": torch.ones(6)}, "actions: torch.int64 expected, torch.float32 found"),
        ({"actions": torch.ones(5).long()}, r"actions: shape \[6\] expected, \[5\] found"),
        ({"physics": torch.ones(6, 5)}, r"physics: shape \[6, 6\] expected, \[6, 5\] found"),
        ({"camera": torch.ones(6, 2)}, "camera: shape"),
        ({"quality_score": 1.5}, "from 0 to 1 expected, 1.5 found"),
        ({"quality_score": float("nan")}, "from 0 to 1"),
        ({"quality_score": "good"}, "quality_score: a number expected, str found"),
        ({"quality_score": 10**400}, "quality_score: a number expected, int found"),
        ({"quality_score": torch.tensor(1j)}, "quality_score: a number expected, Tensor found"),
        ({"meta": ["take"]}, "meta: a dict expected, list found"),
        ({"meta": {"take": ["01", "02"]}}, "meta.take: a string or a number expected, list found"),
        ({"meta": {"split": "dev"}}, "train, val or test expected, 'dev' found"),
        ({"source": 3}, "source: a string expected, int found"),
    ],
)
def test_faults_are_told_with_the_clip_and_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"^clips\.pt: clip 1: .*{message}") as caught:
        clips(sequence(), sequence(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch has deprecated them; files may still hold some
def test_quantized_tensors_are_refused() -> None:
    quantized = torch.quantize_per_tensor(torch.ones(6, 20), 0.1, 0, torch.quint8)
    with pytest.raises(DataError, match="clip 0: motion: a plain tensor expected, a quantized one found"):
        clips(sequence(motion=quantized))


def test_a_clip_that_is_no_dict() -> None:
    with pytest.raises(DataError, match=r"clips\.pt: clip 0: a dict expected, list found"):
        clips([1, 2])


@pytest.mark.parametrize(
    ("meta", "take"),
    [
        ({"take": 0}, "0"),
        ({"take": 0, "cmu_id": "07_01"}, "0"),
        ({"cmu_id": 0}, "0"),
        ({"take": "", "cmu_id": "07_01"}, "07_01"),
        ({"take": None, "cmu_id": " "}, "#0"),
        ({"take": ""}, "#0"),
        ({}, "#0"),
    ],
)
def test_a_take_numbered_0_is_a_take_and_an_empty_one_is_none(meta: dict[str, Any], take: str) -> None:
    assert clips(sequence(meta=meta))[0].take == take


def test_parameters_are_taken_for_their_numbers() -> None:
    (clip,) = clips(sequence(motion=torch.nn.Parameter(torch.ones(6, 20))))
    assert not clip.motion.requires_grad


def test_one_embedding_width_a_file_and_any_figures() -> None:
    assert [clip.motion.shape[-1] for clip in clips(sequence(), sequence(dim=48))] == [20, 48]
    with pytest.raises(DataError, match="clip 1: embedding is 9 wide, 8 expected"):
        clips(sequence(), sequence(embedding=torch.ones(9)))


def test_opening_looks_at_no_numbers_but_the_labels() -> None:
    store = SequenceClips([sequence(), sequence(motion=NAN, embedding=torch.full((8,), torch.inf))], "clips.pt")
    assert [info.length for info in store.infos] == [6, 6]
    store.load(0)
    with pytest.raises(DataError, match=r"^clips\.pt: clip 1: motion: finite numbers expected, NaN or infinity found"):
        store.load(1)
    with pytest.raises(DataError, match=r"^clips\.pt: clip 0: actions: .*, 64 found"):
        SequenceClips([sequence(actions=torch.full((6,), 64))], "clips.pt")


def test_a_partner_is_checked_with_the_clip_it_goes_with() -> None:
    spoilt = sequence(actors=2)
    spoilt["motion"][3, 1, 0] = torch.inf
    store = SequenceClips([spoilt], "clips.pt")
    for position in (0, 1):
        with pytest.raises(DataError, match=r"clip 0: motion: finite numbers expected, .* at position 3"):
            store.load(position)


def test_infos_agree_with_the_clips() -> None:
    actions = torch.tensor([5, 5, 2, 2, 2, 5])
    several = sequence(actors=3, actions=actions, camera=torch.ones(6, 3), meta={"take": "a"})
    several["motion"][:, 0] = 0
    store = SequenceClips([sequence(physics=torch.ones(6, 6), quality_score=0.5), several], "clips.pt")
    assert [info.position for info in store.infos] == [0, 1, 2]
    assert [info.partner for info in store.infos] == [None, 2, 1]
    assert list((store.infos[1].action_counts or {}).items()) == [(5, 3), (2, 3)]
    assert store.infos[1].main_action == 2
    assert store.infos[0].main_action is None
    for info in store.infos:
        clip = store.load(info.position)
        for name in (
            "length", "description", "take", "source", "action_counts", "has_actions", "has_physics", "quality",
            "split", "index", "actor",
        ):  # fmt: skip
            assert getattr(info, name) == getattr(clip, name), name
        assert (info.dim, info.width) == (clip.motion.shape[1], len(clip.embedding))
        assert info.has_camera == (clip.camera is not None)


def test_what_lies_beyond_the_longest_length_is_neither_read_nor_counted() -> None:
    motion, actions = torch.ones(6, 20), torch.tensor([1, 1, 2, 3, 3, 99])
    motion[4] = torch.nan
    store = SequenceClips([sequence(motion=motion, actions=actions, physics=torch.ones(6, 6))], "clips.pt", 3)
    (info,), clip = store.infos, store.load(0)
    assert info.length == clip.length == 3
    assert info.action_counts == {1: 2, 2: 1}
    assert clip.actions is not None
    assert clip.actions.tolist() == [1, 1, 2]
    assert clip.physics is not None
    assert clip.physics.shape == (3, 6)
