"""Pages that are written from the program, and the links between pages."""

import re
import runpy
from pathlib import Path

import pytest

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
