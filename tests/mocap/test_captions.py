import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stickgen.errors import ConfigError, DataError
from stickgen.mocap.caption_tables import Description, read_captions
from stickgen.mocap.captions import Captioner, compile_pattern
from stickgen.mocap.projection import Recording
from stickgen.mocap.vocabulary import checked_action, match_action, suggest_actions
from tests.mocap.bodies import walking_body

BARE = Recording(joints=walking_body(30), fps=25, take="x", clip_id="x", where="x.bvh")
OWN = replace(BARE, captions=("A person dances.",), action="salsa", stickgen_action="dance", style="wild")

TABLE = (
    "file,caption,action,take\n"
    'dance.bvh,"A person dances, wildly.",salsa,monday\n'
    "dance.bvh,Somebody dances.,,\n"
    "hop,A person hops.,jump,\n"
)


def described(recording: Recording, path: str | Path = "takes/x.bvh", **how: Any) -> Recording:
    (one,) = Captioner(**how).describe([recording], Path(path))
    return one


def test_tables_of_three_kinds_agree(tmp_path: Path) -> None:
    rows = [
        {"file": "dance.bvh", "caption": "A person dances, wildly.", "action": "salsa", "take": "monday"},
        {"file": "dance.bvh", "caption": "Somebody dances."},
        {"file": "hop", "caption": "A person hops.", "action": "jump", "take": None},
    ]
    (tmp_path / "a.csv").write_text(TABLE, encoding="utf-8-sig")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    expected = read_captions(tmp_path / "a.csv")
    assert expected["dance.bvh"].captions == ("A person dances, wildly.", "Somebody dances.")
    assert read_captions(tmp_path / "a.json") == read_captions(tmp_path / "a.jsonl") == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "caption,action\nx,walk\n", "no column file"),
        ("a.csv", "file,caption\n,x\n", "row 1: no file"),
        ("a.csv", "file,caption,mood\nx,y,z\n", "unknown column mood"),
        ("a.csv", "file,caption\nx,y,z\n", "unknown column"),
        ("a.csv", "file,start,end\nx,2,1\n", "row 1: start and end: seconds, .*'2' and '1' found"),
        ("a.csv", "file,start,end\nx,1,\n", "row 1: start and end"),
        ("a.csv", "file,start,end\nx,0,inf\n", "row 1: start and end"),
        ("a.csv", "file,split\nx,dev\n", "row 1: split: train, val or test expected, 'dev' found"),
        ("a.csv", "file,caption,action\nx,y,walk\nx,z,run\n", "row 2: action 'run', but 'walk'"),
        ("a.csv", f"file,caption\nx,{'y' * 200_000}\n", "line 2: not CSV that can be read: field larger"),
        ("a.csv", f"file,{'y' * 200_000}\n", "line 1: not CSV that can be read: field larger"),
        ("a.json", "{}", "JSON list"),
        ("a.json", "[", "not JSON"),
        ("a.jsonl", '{"file": "x"}\n[]\n', "line 2: an object like"),
        ("a.jsonl", '{"file": "x"}\n{\n', "line 2: not JSON"),
        ("b.csv", None, "cannot be read"),
    ],
)
def test_caption_tables_are_checked(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}: .*{message}"):
        read_captions(tmp_path / name)


@pytest.mark.parametrize("name", ["x", "x.bvh", "takes/x.bvh", "monday/takes/x.bvh"])
def test_a_table_finds_a_file_by_its_path(name: str) -> None:
    table = {name: Description(("A walk.",), split="test", subject="anna")}
    found = described(OWN, "studio/monday/takes/x.bvh", table=table)
    assert (found.captions, found.split, found.subject) == (("A walk.",), "test", "anna")
    assert (found.action, found.stickgen_action) == ("salsa", "dance")


def test_parts_of_a_file_are_recordings_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "file,caption,action,start,end\nx.bvh,A turn.,turn,0.4,0.8\nx.bvh,Another word.,,0.4,0.8\n"
        "x.bvh,The end.,,0.8,9\n"
    )
    captioner = Captioner.of(tmp_path / "a.csv")
    turn, rest = captioner.describe([OWN], Path("x.bvh"))
    assert (turn.captions, turn.action, turn.clip_id, len(turn.joints)) == (
        ("A turn.", "Another word."),
        "turn",
        "x_0010_0020",
        10,
    )
    assert (rest.captions, rest.action, rest.take, len(rest.joints)) == (("The end.",), "salsa", OWN.take, 10)
    (tmp_path / "a.csv").write_text("file,caption,start,end\nx,A dance.,,\nx,A turn.,5,8\n")
    with pytest.raises(DataError, match=r"x\.bvh: the caption table describes 5 s to 8 s; the motion has 1\.2 s"):
        Captioner.of(tmp_path / "a.csv").describe([OWN], Path("x.bvh"))


def test_annotations_of_babel(tmp_path: Path) -> None:
    def label(name: str, **more: Any) -> dict[str, Any]:
        return {"raw_label": name, "proc_label": name, "act_cat": [name], "seg_id": "…", **more}

    entries = {
        "12": {
            "babel_sid": 12, "url": "", "dur": 1.2, "feat_p": "KIT/KIT/3/kick_poses.npz",
            "seq_ann": {"babel_lid": "…", "labels": [label("kick twice"), label("kick")]},
            "frame_ann": {"labels": [
                label("kick", start_t=0.0, end_t=0.6), label("transition", start_t=0.6, end_t=0.8),
                label("stand", start_t=0.8, end_t=1.2),
            ]},
        },
        "13": {"feat_p": "CMU/CMU/01/01_01_poses.npz", "seq_ann": None, "frame_ann": None},
    }  # fmt: skip
    (tmp_path / "val.json").write_text(json.dumps(entries))
    captioner = Captioner.of(tmp_path / "val.json")
    whole, kick, stand = captioner.describe([BARE], Path("amass/KIT/3/kick_poses.npz"))
    assert whole.captions == ("kick twice", "kick")
    assert [(one.captions, one.action, len(one.joints)) for one in (kick, stand)] == [
        (("kick",), "kick", 15),
        (("stand",), "stand", 10),
    ]
    assert {one.split for one in (whole, kick, stand)} == {"val"}
    del entries["12"]["seq_ann"]["labels"][0]["proc_label"]
    (tmp_path / "val.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"val\.json: entry '12': not as BABEL's are: KeyError: 'proc_label'"):
        Captioner.of(tmp_path / "val.json")


def test_a_table_may_give_labels_alone() -> None:
    found = described(OWN, table={"x": Description(take="monday", action="walk")})
    assert (found.captions, found.take) == (OWN.captions, "monday")
    # The class was of the format's own label.
    assert (found.action, found.stickgen_action) == ("walk", None)
    assert described(OWN, table={"x": Description(action="salsa")}).stickgen_action == "dance"


def test_names_are_taken_apart_and_captions_filled_in() -> None:
    pattern, template = "dataset-2_{action}_{style}_*", "A person {action}s, {style}."
    path = "data/dataset-2_walk_not-confident_003.bvh"
    found = described(BARE, path, pattern=pattern, template=template)
    assert (found.action, found.style) == ("walk", "not-confident")
    assert found.captions == ("A person walks, not confident.",)
    other = described(BARE, "data/dataset-1_walk_old_003.bvh", pattern=pattern)
    assert other == BARE
    # The clip's own name counts too, as of clips of an archive.
    inside = replace(BARE, clip_id="dataset-2_run_old_001")
    assert described(inside, "clips.npz", pattern=pattern).action == "run"


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{take}_*", "a/07_01.bvh", {"take": "07"}),
        ("{subject}/{action}*", "x/anna/walk_3.bvh", {"subject": "anna", "action": "w"}),
        ("{subject}/{action}_*", "x/anna/walk_3.bvh", {"subject": "anna", "action": "walk"}),
        ("{split}/{caption}", "test/a_slow-walk.bvh", {"split": "test", "caption": "a_slow-walk"}),
        ("{action}.v2_*", "walk.v2_1.bvh", {"action": "walk"}),
        ("{action}.v2_*", "walkxv2_1.bvh", None),
    ],
)
def test_patterns(pattern: str, path: str, fields: dict[str, str] | None) -> None:
    match = compile_pattern(pattern).fullmatch(Path(path).with_suffix("").as_posix())
    assert (match.groupdict() if match else None) == fields


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"pattern": "{mood}_*"}, "field {mood} is unknown; choose from: {caption}, {action}"),
        ({"pattern": "{action}_{action}"}, "field {action} is there twice"),
        ({"pattern": "walk_*"}, "no field in it; write {action} where the action stands"),
        ({"template": "A person {walks}."}, "--caption: unknown field {walks}"),
        ({"template": "{action.__class__}"}, "unknown field"),
    ],
)
def test_patterns_and_templates_are_checked(how: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Captioner(**how)
    assert message in str(raised.value)


def test_a_template_needs_its_labels() -> None:
    with pytest.raises(DataError, match=r"x\.bvh: --caption needs its style, which is not known"):
        described(BARE, template="A person in {style} style.")


def test_what_counts_most(tmp_path: Path) -> None:
    path = tmp_path / "x.bvh"
    path.write_text("")
    template, table = "A person does {action}.", {"x": Description(("From the table.",))}
    assert described(OWN, path).captions == ("A person dances.",)
    assert described(OWN, path, template=template).captions == ("A person does salsa.",)
    (tmp_path / "x.txt").write_text("\ufeffFrom beside.\n\nAnother.#tokens#0.0#0.0\n", encoding="utf-8")
    assert described(OWN, path, template=template).captions == ("From beside.", "Another.")
    assert described(OWN, path, template=template, table=table).captions == ("From the table.",)
    # Of an archive of several clips, the text beside it describes those that have no caption of their own.
    both = Captioner().describe([OWN, BARE], path)
    assert [one.captions[0] for one in both] == ["A person dances.", "From beside."]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("walk", "walk"), ("Walking", "walk"), ("walks", "walk"), ("running", "run"), ("drink", "drinking"),
        ("dancing", "dance"), ("waves", "wave"), ("high-five", "high_five"), ("Lie down", "lie_down"), ("kick", "kick"),
        ("kicking", "kicking"), ("sitting", "sit"), ("typed", "typing"), ("sing", "sing"), ("catch", "catching"),
        ("salsa", None), ("", None), ("person", None), ("walking the dog", None),
    ],
)  # fmt: skip
def test_labels_mean_names_of_the_vocabulary(label: str, name: str | None) -> None:
    assert match_action(label) == name


def test_suggestions() -> None:
    assert suggest_actions("walk_fast") == ["walk"]
    assert suggest_actions("sneaky_dancing") == ["dance"]
    assert suggest_actions("jumpp") == ["jump"]
    assert suggest_actions("salsa") == []
    with pytest.raises(DataError, match=r"action 'walk fast' is not in the vocabulary; did you mean walk\?"):
        checked_action("walk fast")
    with pytest.raises(DataError, match="choose from: idle, walk"):
        checked_action("salsa")
