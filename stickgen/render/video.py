"""MP4 video in H.264, which every browser and editor plays."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image

from stickgen.errors import ConfigError, StickgenError
from stickgen.render.layout import Picture
from stickgen.render.panel import Panel
from stickgen.render.style import Style

_CODEC = "libx264"


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write panels side by side, moving.

    Raises:
        StickgenError: see :func:`write_mp4`.
    """
    picture = Picture(panels, style)
    write_mp4(path, picture, picture.size, fps)


def require_av(path: Path) -> None:
    """Refuse a video where PyAV is not installed, or was built without the encoder.

    Raises:
        StickgenError: so it is.
    """
    try:
        import av  # in its extra, since most never make a video
    except ImportError:
        raise StickgenError(
            f"{path}: writing video needs PyAV; pip install 'stickgen[video]', or name a .gif"
        ) from None
    try:
        av.Codec(_CODEC, "w")
    except ValueError:
        raise StickgenError(
            f"{path}: this PyAV cannot write H.264, for it lacks {_CODEC}; take that of pip install 'stickgen[video]', "
            "or name a .gif"
        ) from None


def write_mp4(path: Path, frames: Iterable[Image.Image], size: tuple[int, int], fps: float) -> None:
    """Write a video.

    Args:
        path: where to; its name ends in .mp4.
        frames: RGB.
        size: width and height of them all, both even.
        fps: frames a second.

    Raises:
        StickgenError: see :func:`require_av`.
        ConfigError: ``fps`` is not above 0 and at most 240.
    """
    require_av(path)
    import av

    if not 0 < fps <= 240:
        raise ConfigError(f"fps={fps}: more than 0 and at most 240 expected")
    # The index is put before the pictures, so that a page can play the file while it loads.
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(_CODEC, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"  # what players know
        stream.codec_context.thread_count = 1  # on several, the bytes depend on who comes first
        stream.options = {"crf": "18", "preset": "medium"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
