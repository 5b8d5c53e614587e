"""The checks of the pages' commands find what they are for."""

from pathlib import Path

import pytest

from tests.documentation.__main__ import check
from tests.documentation.pages import DOCS, PARSED, ROOT, RUN, Command, commands_of
from tests.documentation.parse import parse

PAGE = """
Text with `python train.py lora.rank=4` and `stickgen verify a\\|b`, and `a.py` and `stickgen.load(x)`.

```bash
# a comment
python train.py lora.rank=8 \\
    seed=1   # another
pip install x && stickgen pack a b
```

```console
$ stickgen verify a \\
    b
what it printed
```

```python
import stickgen

stickgen.load("a")
```

```text
stickgen nothing
```
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text)
    return path


def test_commands_are_found_with_their_lines(tmp_path: Path) -> None:
    found = [(int(c.place.rpartition(":")[2]), c.kind, c.text) for c in commands_of(write(tmp_path, PAGE))]
    assert found == [
        (2, "inline", "python train.py lora.rank=4"),
        (2, "inline", "stickgen verify a|b"),
        (7, "command", "python train.py lora.rank=8 seed=1   # another"),
        (8, "command", "pip install x"),
        (8, "command", "stickgen pack a b"),
        (13, "command", "stickgen verify a b"),
        (18, "python", 'import stickgen\n\nstickgen.load("a")\n'),
    ]


def test_a_block_without_a_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page\.md:1: a block without a language"):
        list(commands_of(write(tmp_path, "```\nstickgen pack a b\n```\n")))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("python train.py lora.rnk=4", "lora.rnk"),
        ("python train.py lora.rank=0", "lora.rank=0"),
        ("python train.py experiment=styles", "styles"),
        ("python train.py -m lora.rank=4,8 lora.alpha=x", "lora.alpha"),
        ("python merge.py checkpoint=a outptu=b", "outptu"),
        ("stickgen evaluates a", "no such command: stickgen evaluates"),
        ("stickgen evaluate a --dat b", "--dat"),
        ("pip install -e '.[txt]'", "txt"),
        ("rm -r outputs", "neither run nor listed"),
    ],
)
def test_a_mistake_is_found_without_running(text: str, wrong: str) -> None:
    problem = parse(Command("page.md:1", text, "inline"))
    assert problem is not None
    assert wrong in problem


@pytest.mark.parametrize(
    "text",
    [
        "python train.py -m lora.rank=4,8 'lora/targets=[attention,ffn]'",
        "python train.py sweep=grid launcher=joblib",
        "python train.py resume=latest",
        "python merge.py 'checkpoint=[a,b]' 'weights=[0.7,0.3]' output=c.pth",
        "stickgen train lora.rank=4",
        "stickgen evaluate --by style",
        "stickgen prepare --help",
        "pip install -e '.[text,bvh]'",
    ],
)
def test_what_is_right_passes(text: str) -> None:
    assert parse(Command("page.md:1", text, "inline")) is None


def test_a_command_that_fails_is_told_with_its_page_line_and_output(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    page = write(tmp_path, "```bash\nstickgen info --help\nstickgen pack nothing.pt b.safetensors\n```\n")
    wrong, ran, parsed, _ = check(page, made)
    assert (ran, parsed, len(wrong)) == (2, 0, 1)
    assert "page.md:3: stickgen pack nothing.pt" in wrong[0]
    assert "exit status 1" in wrong[0]
    assert "nothing.pt: no such file" in wrong[0]


def test_every_page_is_checked() -> None:
    known = {*RUN, *PARSED, DOCS / "architecture.md"}
    assert known >= {ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")}
