from pathlib import Path

import pytest

from benchmarks import open_data
from stickgen.data.file import open_clips, pack


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which Linux has")
def test_opening_is_measured_on_clips_of_realistic_length(tmp_path: Path) -> None:
    path = tmp_path / "clips.pt"
    open_data.generate(path, 8)
    infos = open_clips(path)[0].infos
    assert len(infos) == 8
    assert all(60 <= info.length <= 250 and info.has_actions and info.has_physics for info in infos)
    assert path.stat().st_size < 8 * open_data.BYTES_A_CLIP * 1.5
    pack(path, tmp_path / "clips.safetensors")
    for file in (path, tmp_path / "clips.safetensors"):
        figures = open_data.measure(file)
        assert set(figures) == set(open_data.MEASURES)
        assert all(value > 0 for value in figures.values())
