import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stickgen.config import DataConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.file import read_sequences, write_sequences
from stickgen.errors import DataError, FolderInUseError
from stickgen.locks import folder_lock
from stickgen.mocap import prepare as module
from stickgen.mocap import unfinished
from stickgen.mocap.cutting import PrepareOptions
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.prepare import prepare
from stickgen.mocap.projection import BODY_JOINTS
from stickgen.mocap.unfinished import Unfinished, state_of
from tests.mocap.bodies import walking_body
from tests.mocap.test_prepare import Encoder
from tests.random_clips import assert_same, random_sequences

# Captions that share their arrays, and a text that comes up again in another recording.
OPTIONS = PrepareOptions(views=("both",), captions="all", minimum=10, window=30)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EMBEDDED_AT_ONCE", 4)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Sixteen archives of a walk, and a data file."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for number in range(16):
        np.savez(
            folder / f"walk_{number:02}.npz",
            joints=walking_body(20 + 2 * number),
            joint_names=np.array(BODY_JOINTS),
            captions_json=f'["A person walks {number}.", "Somebody walks."]',
            action="walk",
        )
    write_sequences(folder / "others.pt", random_sequences(3), {})
    return [folder]


def stopped_at(step: str, item: int, stop: Callable[[], None]) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, total: int) -> None:
        if (what, done) == (step, item):
            stop()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("name", "workers"), [("out.pt", 1), ("out.safetensors", 2)])
def test_a_stopped_prepare_goes_on_in_every_step(
    sources: list[Path], tmp_path: Path, workers: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(sources, tmp_path / f"whole_{name}", Encoder, OPTIONS)
    output = tmp_path / name
    for step, item in (("reading", 7), ("projecting", 3), ("embedding", 2)):
        with pytest.raises(KeyboardInterrupt):
            prepare(sources, output, Encoder, OPTIONS, workers=workers, progress=stopped_at(step, item, interrupt))
    caplog.clear()
    told: dict[str, int] = {}
    prepare(
        sources, output, Encoder, OPTIONS, workers=workers,
        progress=lambda what, done, total: told.setdefault(what, done) and None,
    )  # fmt: skip
    assert told == {"reading": 16, "projecting": 16, "embedding": 2}, "what was done is not done again"
    assert caplog.messages == [f"{output}.unfinished: continues what a stopped command had done"]
    assert output.read_bytes() == (tmp_path / f"whole_{name}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["sources", name, f"whole_{name}"])


def test_a_killed_prepare_goes_on(sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 0.0)
    process = multiprocessing.get_context("fork").Process(
        target=prepare,
        args=(sources, tmp_path / "out.pt", Encoder, OPTIONS),
        kwargs={"progress": stopped_at("reading", 5, kill)},
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "out.pt.unfinished").glob("reading-*.part"))) == 5
    begun: list[int] = []

    def stop(what: str, done: int, total: int) -> None:
        begun.append(done)
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        prepare(sources, tmp_path / "out.pt", Encoder, OPTIONS, progress=stop)
    assert begun == [5]


def test_what_is_of_something_else_is_done_anew(
    sources: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out.pt"
    begun: list[int] = []

    def progress(what: str, done: int, total: int) -> None:
        begun.append(done)
        if done == 3:
            interrupt()

    for change in ("", "option", "source", "captions", "damage"):
        options = OPTIONS if change in ("", "source") else replace(OPTIONS, seed=1)
        if change == "source":
            os.utime(sources[0] / "walk_03.npz", ns=(0, 0))
        elif change == "captions":
            (sources[0] / "walk_03.txt").write_text("A person strolls.")
        elif change == "damage":
            part = next((tmp_path / "out.pt.unfinished").glob("reading-*"))
            part.write_bytes(part.read_bytes()[:-1] + b"x")
        begun.clear()
        caplog.clear()
        with pytest.raises(KeyboardInterrupt):
            prepare(sources, output, Encoder, options, progress=progress)
        assert begun[0] == 0, change
        line = f"{output}.unfinished: of other sources or options, or damaged; everything is done anew"
        assert caplog.messages == ([line] if change else []), change


def test_another_encoder_embeds_anew(sources: list[Path], tmp_path: Path) -> None:
    class Twice(Encoder):
        record = {**Encoder.record, "id": "test/twice"}  # noqa: RUF012

        def encode(self, captions: list[str]) -> np.ndarray:  # type: ignore[override]
            return 2 * super().encode(captions)

    output = tmp_path / "out.pt"
    with pytest.raises(KeyboardInterrupt):
        prepare(sources, output, Encoder, OPTIONS, progress=stopped_at("embedding", 2, interrupt))
    prepare(sources, output, Twice, OPTIONS)
    assert all(s["embedding"][0] == 2 * len(s["description"]) for s in read_sequences(output)[0])


def test_mistakes_in_the_data_leave_nothing_and_quick_commands_write_nothing(
    sources: list[Path], tmp_path: Path
) -> None:
    np.savez(sources[0] / "walk_30.npz", joints=walking_body(40), joint_names=np.array(BODY_JOINTS))
    with pytest.raises(DataError, match="no caption"):
        prepare(sources, tmp_path / "out.pt", Encoder, OPTIONS)
    assert not (tmp_path / "out.pt.unfinished").exists()
    (sources[0] / "walk_30.npz").unlink()

    def look(what: str, done: int, total: int) -> None:
        assert [path.name for path in (tmp_path / "out.pt.unfinished").iterdir()] == ["stickgen.lock"]

    prepare(sources, tmp_path / "out.pt", Encoder, OPTIONS, progress=look)


def test_one_process_makes_an_output(sources: list[Path], tmp_path: Path) -> None:
    with folder_lock(tmp_path / "out.pt.unfinished"), pytest.raises(FolderInUseError, match=r"out\.pt\.unfinished: in"):
        prepare(sources, tmp_path / "out.pt", Encoder, OPTIONS)


def test_kept_results_are_as_they_were(tmp_path: Path) -> None:
    shared = np.arange(6.0).reshape(2, 3)
    result = [{"a": shared, "b": shared.astype(np.float32)[:, ::2], "c": None, "d": 0.1, "e": "ü\udcff"}, {"a": shared}]
    with suppress(KeyboardInterrupt), Unfinished(tmp_path) as done:
        step = done.step("reading", "key")
        step.add(result)
        done.save()
        step.add([])
        step.add([{"a": np.zeros((0, 14, 3)), "b": np.array([1], np.int64)}])
        raise KeyboardInterrupt
    again = Unfinished(tmp_path).step("reading", "key").results
    assert again[1] == []
    assert again[0][0]["a"] is again[0][1]["a"]
    for ours, theirs in ((again[0][0], result[0]), (again[2][0], {"a": np.zeros((0, 14, 3)), "b": np.array([1])})):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():  # type: ignore[attr-defined]
            np.testing.assert_array_equal(ours[key], value)
            assert not isinstance(value, np.ndarray) or (ours[key].dtype, ours[key].flags.writeable) == (
                value.dtype, True,
            )  # fmt: skip
    assert Unfinished(tmp_path).step("reading", "other").results == []
    assert list(tmp_path.iterdir()) == []


def test_files_beside_a_source_belong_to_it(tmp_path: Path) -> None:
    (tmp_path / "02_01.amc").write_text("#!OML:ASF\n:FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 0 0 0 0 0\n")
    (tmp_path / "walk.bvh").write_text("HIERARCHY\nROOT hip\n")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a_000_keypoints.json").write_text('{"version":1.3,"people":[]}')
    found = find_sources([tmp_path])
    assert len(found) == 3
    before = {name for name, _, _ in state_of(found)}
    beside = {tmp_path / name for name in ("02.asf", "Frame_Cuts.csv", "walk.txt", "frames/a_001_keypoints.json")}
    model = tmp_path / "model.task"
    for path in (*beside, model):
        path.write_text("")
    after = {name for name, _, _ in state_of(found, ImportOptions(pose_model=model).pose_model)}
    assert after - before == {str(path) for path in (*beside, model)}


def test_files_prepared_one_by_one_into_a_folder_train_as_one(sources: list[Path], tmp_path: Path) -> None:
    """So a cluster needs no more than a command for each part of the sources."""
    (sources[0] / "others.pt").unlink()
    files = sorted(sources[0].iterdir())
    prepare(files, tmp_path / "whole.safetensors", Encoder, OPTIONS)
    for name, part in (("a", files[:9]), ("b", files[9:])):
        prepare(part, tmp_path / "parts" / f"{name}.safetensors", Encoder, OPTIONS)
    settings = {"batch_size": 4, "val_fraction": 0.2, "test_fraction": 0.2, "keep_unscored": True, "min_quality": 0.0}
    one, many = (
        ClipDataModule(DataConfig(path=str(tmp_path / name), **settings), seed=3)
        for name in ("whole.safetensors", "parts")
    )
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for ours, theirs in zip(getattr(many, loader)(), getattr(one, loader)(), strict=True):
            assert_same(ours, theirs)
