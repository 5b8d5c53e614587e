import json
import zipfile
from pathlib import Path

import pytest

from stickgen.untrusted import check_archive, check_fps, check_text, parse_json, parse_yaml, refuse_interpolations


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 200_000, "levels deep"),
        ("[" * 200 + "]" * 200, "levels deep"),
        ("9" * 400, "a number of 400 digits"),
        ('{"caption": "\\ud800"}', "not valid Unicode"),
        ('{"\\udfff": 1}', "not valid Unicode"),
        ("{", "Expecting property name"),
    ],
)
def test_json_beyond_limits_is_a_value_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


def test_other_json_is_what_it_is() -> None:
    content = {"a": [1, -2.5, None, True, "…", "\U0001f600"], "b": {"c": []}}
    assert parse_json(json.dumps(content)) == content
    assert parse_json(json.dumps(content, ensure_ascii=False)) == content


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [1]\nb: [*a, *a]", r"line 2: an alias \(\*a\)"),
        ("[" * 200 + "]" * 200, "levels deep"),
        ("seed: " + "9" * 400, "more than 300 digits"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("x" * (2**20 + 1), "at most 1048576"),
        ("a: [", "while parsing"),
    ],
)
def test_yaml_beyond_limits_is_a_value_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_yaml(text)


def test_interpolations_stay_text_and_are_refused() -> None:
    plain = parse_yaml("a: {b: ['${oc.env:HOME}']}\nlr: 1e-4")
    assert plain == {"a": {"b": ["${oc.env:HOME}"]}, "lr": 1e-4}
    with pytest.raises(ValueError, match=r"an interpolation, '\$\{oc\.env:HOME\}'"):
        refuse_interpolations(plain)
    refuse_interpolations({"a": ["$5", "{b}", 1, None]})


def test_archives_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(5000))
        archive.writestr("b", b"")
    check_archive(path)
    with pytest.raises(ValueError, match="holds 2 files; at most 1"):
        check_archive(path, 1)
    with pytest.raises(ValueError, match="compressed"):
        check_archive(path, stored=True)
    monkeypatch.setattr("stickgen.untrusted.MAX_UNPACKED_BYTES", 4000)
    with pytest.raises(ValueError, match="unpacks to"):
        check_archive(path)


@pytest.mark.parametrize("fps", [0, -1, 1e-300, 1e9, float("nan"), float("inf")])
def test_rates_that_no_recording_has(fps: float) -> None:
    with pytest.raises(ValueError, match="frames a second: 1 to 1000 expected"):
        check_fps(fps)


def test_whole_surrogate_pairs_are_text() -> None:
    check_text("\U0001f600")
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        check_text("a\ud83d")
