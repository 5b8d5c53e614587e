from pathlib import Path

import pytest
import torch

from stickgen.data.file import write_sequences
from stickgen.errors import DataError, GenerationError
from stickgen.generation import read_seed_frames
from stickgen.generation.seed import DISTURBANCE, standing
from stickgen.motion.skeleton import rest_pose, skeleton_of
from stickgen.render import Panel, save
from stickgen.sample import SAMPLE_INFO, sample_sequences


@pytest.fixture(scope="module")
def sequences() -> list[dict]:
    return sample_sequences(2, seed=1)


@pytest.mark.parametrize("name", ["clips.pt", "clips.safetensors"])
def test_of_a_data_file(tmp_path: Path, sequences: list[dict], name: str) -> None:
    write_sequences(tmp_path / name, sequences, SAMPLE_INFO)
    assert torch.equal(read_seed_frames(tmp_path / name), sequences[0]["motion"][:10])
    assert torch.equal(read_seed_frames(tmp_path / name, 3, clip=1), sequences[1]["motion"][:3])
    with pytest.raises(GenerationError, match="clip 2: 0 to 1 expected"):
        read_seed_frames(tmp_path / name, clip=2)
    with pytest.raises(GenerationError, match="99999 frames to go on from: 1 to"):
        read_seed_frames(tmp_path / name, 99_999)


def test_clips_are_counted_as_inspect_counts_them(tmp_path: Path, sequences: list[dict]) -> None:
    both = torch.stack([sequences[0]["motion"], sequences[0]["motion"] + 0.1], dim=1)
    several = {key: value for key, value in sequences[0].items() if key not in ("actions", "physics")}
    write_sequences(tmp_path / "clips.pt", [{**several, "motion": both}, sequences[1]], SAMPLE_INFO)
    assert torch.equal(read_seed_frames(tmp_path / "clips.pt", 3, clip=0), both[:3, 0])
    assert torch.equal(read_seed_frames(tmp_path / "clips.pt", 3, clip=1), sequences[1]["motion"][:3])


def test_of_a_motion_file(tmp_path: Path, sequences: list[dict]) -> None:
    save(tmp_path / "a.motion", Panel(sequences[0]["motion"]))
    seed = read_seed_frames(tmp_path / "a.motion", 5)
    torch.testing.assert_close(seed, sequences[0]["motion"][:5], atol=1e-4, rtol=0)
    with pytest.raises(GenerationError, match="0 frames to go on from"):
        read_seed_frames(tmp_path / "a.motion", 0)


def test_a_motion_file_of_another_rate_is_interpolated_and_has_one_clip(tmp_path: Path, sequences: list[dict]) -> None:
    motion = sequences[0]["motion"]
    save(tmp_path / "a.MOTION", Panel(motion[:41]), fps=50)
    torch.testing.assert_close(read_seed_frames(tmp_path / "a.MOTION", 20), motion[:40:2], atol=1e-4, rtol=0)
    save(tmp_path / "b.motion", Panel(motion[:11]), fps=12.5)
    seed = read_seed_frames(tmp_path / "b.motion", 3)
    torch.testing.assert_close(seed[1], (motion[0] + motion[1]) / 2, atol=5e-3, rtol=0)
    assert seed.dtype == torch.float32
    with pytest.raises(
        GenerationError, match=r"b\.motion: clip 2: a \.motion file holds one motion; leave --seed-clip"
    ):
        read_seed_frames(tmp_path / "b.motion", 3, clip=2)


@pytest.mark.parametrize("name", ["none.pt", "none.motion", "none.safetensors"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        read_seed_frames(tmp_path / name)


@pytest.mark.parametrize("dim", [20, 48])
def test_a_drawn_start_is_a_figure_near_rest(dim: int) -> None:
    upright, drawn = standing(dim, 200), standing(dim, 200, seed=3)
    assert torch.equal(upright, torch.tensor(rest_pose(dim)).expand(1, 200, dim))
    skeleton = skeleton_of(dim)
    # Segments that share a joint still meet in it.
    torch.testing.assert_close(skeleton.from_joints(skeleton.to_joints(drawn)), drawn)
    assert float((drawn - upright).std()) == pytest.approx(DISTURBANCE, rel=0.1)
    assert torch.equal(standing(dim, 200, seed=3), drawn)
    assert not torch.equal(standing(dim, 200, seed=4), drawn)
    assert not torch.equal(drawn[:, 0], drawn[:, 1])
    # A prompt's figure does not depend on how many prompts follow it.
    assert torch.equal(standing(dim, 3, seed=3), drawn[:, :3])


def test_a_seed_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(GenerationError, match="seed=-1"):
        standing(20, 1, seed=-1)
