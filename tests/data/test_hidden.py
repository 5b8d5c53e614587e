import pickle
from pathlib import Path

import pytest
import torch

from stickgen.data.hidden import FILES, PLACES, RECORD, ROWS, Computed, HiddenStates, open_hidden, write_hidden
from stickgen.errors import OutputError

LENGTHS = [[3, 5], [2, 4]]  # of two variants of two clips
WIDTH = 6


def states_of(variant: int, clip: int) -> torch.Tensor:
    return torch.randn(LENGTHS[variant][clip], WIDTH, generator=torch.Generator().manual_seed(10 * variant + clip))


def computed() -> Computed:
    yield 0, (1, 0), [states_of(0, 1), states_of(0, 0)]
    yield 1, (0, 1), [states_of(1, 0), states_of(1, 1)]


def written(folder: Path, dtype: torch.dtype = torch.float32) -> HiddenStates:
    return write_hidden(folder, "key", 4, (2, 2), (sum(map(sum, LENGTHS)), WIDTH), dtype, computed())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_stored_is_read_back(tmp_path: Path, dtype: torch.dtype) -> None:
    written(tmp_path / "states", dtype)
    found = open_hidden(tmp_path / "states", "key", 4)
    assert found is not None
    sent = pickle.loads(pickle.dumps(found))  # as to a worker of a loader
    assert len(pickle.dumps(found)) < 1000
    for hidden in (found, sent):
        assert (hidden.layers, hidden.variants, hidden.clips) == (4, 2, 2)
        for variant in range(2):
            for clip in range(2):
                read = hidden.read(clip, variant)
                assert read.dtype == torch.float32
                assert torch.equal(read, states_of(variant, clip).to(dtype).float())
    assert (tmp_path / "states" / ROWS).stat().st_size == 128 + 14 * WIDTH * dtype.itemsize


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "missing", "empty"])
def test_a_damaged_store_is_no_store(tmp_path: Path, name: str, damage: str) -> None:
    written(tmp_path / "states")
    file = tmp_path / "states" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"a flipped bit": content, "cut off": content[:-9]}.get(damage, b""))
    if damage == "missing":
        file.unlink()
    assert open_hidden(tmp_path / "states", "key", 4) is None
    written(tmp_path / "states")
    assert open_hidden(tmp_path / "states", "key", 4) is not None


def test_a_store_of_something_else_is_no_store(tmp_path: Path) -> None:
    written(tmp_path / "states")
    assert open_hidden(tmp_path / "states", "another", 4) is None
    for record in ("[]", "{}", "null", '{"key": "key"}', "\xff"):
        (tmp_path / "states" / RECORD).write_bytes(record.encode("latin-1"))
        assert open_hidden(tmp_path / "states", "key", 4) is None


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    def fails() -> Computed:
        yield next(iter(computed()))
        raise OSError(28, "No space left on device", str(tmp_path / "states"))

    with pytest.raises(OutputError, match="No space left on device; nothing was replaced"):
        write_hidden(tmp_path / "states", "key", 4, (2, 2), (14, WIDTH), torch.float32, fails())
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_with_a_store_that_is_deleted_meanwhile(tmp_path: Path) -> None:
    hidden = written(tmp_path / "states")
    for name in (ROWS, PLACES, RECORD):
        (tmp_path / "states" / name).unlink()
    assert torch.equal(hidden.read(1, 1), states_of(1, 1))
