"""What a run's files say cannot become Markdown, HTML or a command in its card."""

import ast
import re
import shlex

import pytest

from stickgen.export.markdown import Markdown, code_span, plain, python_string, recorded_command, shell_command, table

HOSTILE = "a](http://x) <img src=x onerror=y> | `c` **b** $x$ \\\n# head\n```\nrm"


def test_text_is_shown_as_it_is() -> None:
    shown = plain(HOSTILE)
    assert "\n" not in shown
    # Each character that means something is escaped.
    assert re.findall(r"(?<!\\)[`*\[\]<>|~$]", shown) == []
    assert plain("sft_data_embedded.pt of 3 clips") == "sft_data_embedded.pt of 3 clips"
    assert plain("_a_ & b") == r"\_a\_ &amp; b"
    assert plain("# not a head") == r"\# not a head"
    assert plain(Markdown("`kept`")) == "`kept`"


@pytest.mark.parametrize("text", ["base.pth", "a`b", "``", HOSTILE])
def test_a_code_span_holds_any_text(text: str) -> None:
    shown = code_span(text)
    fence = re.match("`+", shown)
    assert fence is not None
    inner = shown[len(fence[0]) : -len(fence[0])]
    assert not re.search(rf"(?<!`){fence[0]}(?!`)", inner)
    assert "\n" not in shown
    assert re.findall(r"(?<!\\)\|", shown) == []


@pytest.mark.parametrize("text", ['x"); import os; os.system("y', "a'b", "a\\", HOSTILE, "…"])
def test_a_literal_is_the_text_and_nothing_else(text: str) -> None:
    assert ast.literal_eval(python_string(text)) == text
    assert "\n" not in python_string(text)


def test_a_recorded_command_runs_nothing_else() -> None:
    assert shlex.split(recorded_command("train.py a=1; rm -rf ~ `id` $(id) && x")) == [
        *("train.py", "a=1;", "rm", "-rf", "~", "`id`", "$(id)", "&&", "x"),
    ]
    assert "'~'" in recorded_command("train.py ~")
    assert recorded_command("train.py data.path=/home/me/clips.pt") == "train.py data.path=clips.pt"
    assert "\n" not in recorded_command("train.py 'a\n```\nrm -rf x'")
    assert shlex.split(recorded_command("train.py it's")) == ["train.py", "it's"]
    assert shell_command("python", "a b") == "python 'a b'"


def test_a_table_has_as_many_cells_as_it_should() -> None:
    rows = table({"a": "x | y", "b": HOSTILE, "c": None, "d": "", "e": 3}).splitlines()
    assert len(rows) == 5
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in rows)
