from dataclasses import replace

import pytest
import torch

from stickgen.data.sequences import SequenceClips
from stickgen.data.stores import ClipSet
from stickgen.motion.skeleton import to_stick_5
from tests.random_clips import EMBEDDING_DIM, random_sequence, random_sequences


def set_of(count: int) -> ClipSet:
    store = SequenceClips(random_sequences(count), "clips.pt")
    return ClipSet(store, store.infos)


def test_a_set_is_a_sequence_of_its_infos_clips() -> None:
    clips = set_of(5)
    chosen = ClipSet(clips.store, [clips.infos[3], clips.infos[1]])
    assert len(chosen) == 2
    assert [clip.index for clip in chosen] == [3, 1]
    assert chosen[-1].index == 1
    with pytest.raises(IndexError):
        chosen[2]
    part = clips[1:3]
    assert isinstance(part, ClipSet)
    assert [clip.description for clip in part] == ["sequence 1", "sequence 2"]


def test_clips_are_what_their_infos_ask_for() -> None:
    motion = torch.randn(6, 2, 48)
    store = SequenceClips([random_sequence(6, motion=motion)], "clips.pt")
    whole = ClipSet(store, store.infos)
    small = ClipSet(store, [replace(info, dim=20) for info in store.infos]).padded(40)
    torch.testing.assert_close(whole[0].motion, motion[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(small[0].motion, to_stick_5(motion[:, 0]))
    torch.testing.assert_close(small[0].partner, to_stick_5(motion[:, 1]))
    assert whole[0].embedding.shape == (EMBEDDING_DIM,)
    torch.testing.assert_close(small[0].embedding[:EMBEDDING_DIM], whole[0].embedding, rtol=0, atol=0)
    assert not small[0].embedding[EMBEDDING_DIM:].any()
    assert small.infos[0].width == len(small[0].embedding) == 40
