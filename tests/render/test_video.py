import builtins
from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import ConfigError, StickgenError
from stickgen.render import Panel, Style, check_output, save
from stickgen.render.layout import Picture
from tests.render.figures import walking

STYLE = Style(size=96)


def test_a_video_shows_the_frames(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    panel = Panel(walking(15), "a", "walk")
    save(tmp_path / "walk.mp4", panel, STYLE)
    with av.open(str(tmp_path / "walk.mp4")) as video:
        stream = video.streams.video[0]
        assert stream.average_rate == 25
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(stream)]
    drawn = [np.asarray(image).astype(int) for image in Picture([panel], STYLE)]
    assert len(frames) == 15
    for made, wanted in zip(frames, drawn, strict=True):
        assert np.abs(made - wanted).mean() < 4


@pytest.mark.parametrize("fps", [0, 1000])
def test_impossible_rates_are_refused(tmp_path: Path, fps: float) -> None:
    pytest.importorskip("av")
    with pytest.raises(ConfigError, match="at most 240"):
        save(tmp_path / "walk.mp4", Panel(walking(2)), STYLE, fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StickgenError, match=r"walk.mp4: writing video needs PyAV; pip install 'stickgen\[video\]'"):
        check_output(tmp_path / "walk.mp4")


def test_without_the_encoder_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("stickgen.render.video._CODEC", "no_such_codec")
    with pytest.raises(StickgenError, match=r"walk.mp4: this PyAV cannot write H.264, for it lacks no_such_codec; "):
        check_output(tmp_path / "walk.mp4")
