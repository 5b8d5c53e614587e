"""Pages that are written from the program, and the links between pages."""

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

import stickgen.lora
from stickgen.config import TrainConfig, setting_keys

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("assets/*.md"), *ROOT.glob("benchmarks/*.md")]
)


def test_the_page_of_settings_is_written_from_the_settings() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "settings.py"))
    current = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert script["page"]() == current, "python docs/settings.py writes it anew"


def test_every_setting_says_what_it_means() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "settings.py"))
    config = [*script["settings_of"](script["TrainConfig"]), *script["settings_of"](script["MergeConfig"])]
    assert len(config) > 100
    assert [setting.key for setting in config if not setting.meaning] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = page if not path else (page.parent / path)
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_the_readme_is_one_page_whose_commands_can_be_pasted() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    for block in re.findall(r"```bash\n(.*?)```", readme, flags=re.DOTALL):
        assert not re.search(r"<[a-z ]+>|…", block), block


def test_the_results_of_the_readme_are_those_of_the_page_of_results() -> None:
    readme = _section((ROOT / "README.md").read_text(encoding="utf-8"), "## Results")
    page = _section((ROOT / "docs" / "results.md").read_text(encoding="utf-8"), "## Styles on the shipped base")
    rows = [
        [cell.strip(" *").partition(" ±")[0] for cell in line.split("|")]
        for line in page.partition("| three styles")[0].splitlines()
    ]
    models = readme.splitlines()[4:]
    assert len([line for line in models if line.startswith("|")]) == 8
    for line in models:
        figures = re.findall(r"\d[\d.]*(?:e-\d)?(?: %)?(?=\**\s\|)", line)
        assert not figures or any(set(figures) <= set(row) for row in rows), f"{line}: run the commands of the page"


def _section(text: str, heading: str) -> str:
    return text.partition(f"{heading}\n")[2].partition("\n## ")[0]


def test_the_counterparts_of_stick_gen_and_peft_exist() -> None:
    text = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    counterparts = [re.split(r"(?<!\\)\|", line)[2] for line in text.splitlines() if line.startswith("| `")]
    groups = "base|data|lora|trainer|optimizer|objective"
    keys = set(re.findall(rf"(?:{groups})\.[a-z_.]*[a-z_]", " ".join(counterparts)))
    assert len(keys) > 20
    assert {key for key in keys if not key.endswith((".md", ".pt", ".pth"))} <= {
        *setting_keys(TrainConfig),
        "lora.targets.mine",
    }

    fields = {field.name for field in dataclasses.fields(pytest.importorskip("peft").LoraConfig)}
    table = text[text.index("### LoraConfig") :].partition("### Functions")[0]
    named = [
        name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)[=`]", cell)
    ]
    assert set(named) - {"LoHaConfig"} <= fields
    functions = {
        "adapters_disabled",
        "detach_lora_adapters",
        "NamedAdapters",
        *re.findall(r"`(\w+_lora_\w+)[(`]", text),
    }
    assert "inject_lora_adapters" in functions
    assert [name for name in functions if not (hasattr(stickgen.lora, name) and name in text)] == []
