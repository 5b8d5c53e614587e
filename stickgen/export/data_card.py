"""``stickgen card data.pt``: the card of a data file, in the form of a data set's card on the Hugging Face hub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from stickgen.config import DataConfig
from stickgen.data.dataset import filter_clips
from stickgen.data.file import open_clips
from stickgen.data.licenses import licenses_of
from stickgen.data.split import divide_takes
from stickgen.data.table import ClipInfos
from stickgen.errors import ConfigError
from stickgen.evaluation.clip_measures import MOST_CLIPS, Leak, Measured, leaks, measure
from stickgen.export.card import TAGS, Published
from stickgen.export.data_card_text import body
from stickgen.files import atomic_write, check_absent, check_writable

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"
"""The hub's size categories."""


@dataclass(frozen=True, eq=False)
class DataFacts:
    """All that a data file's card is written from.

    Attributes:
        name: the data set's.
        path: what to call the file.
        infos: its clips.
        record: the file's own record.
        license: of the card's writer, None where none was given.
        licenses: source → licences that the file records.
        kept: the clips that training keeps by default.
        left_out: how many of the others are left out, by reason.
        split_by: "take" or "subject".
        split_of: take → split, of those kept.
        measured: None where there are more clips than can be measured.
        leaks: near-duplicates between splits.
    """

    name: str
    path: str
    infos: ClipInfos
    record: Mapping[str, Any]
    license: str | None
    licenses: Mapping[str, Sequence[str]]
    kept: ClipInfos
    left_out: Mapping[str, int]
    split_by: str
    split_of: Mapping[str, str]
    measured: Measured | None
    leaks: Sequence[Leak]


def is_data(path: Path) -> bool:
    """Return whether a path is a data file, or a folder or pattern of packed ones, rather than a run's folder."""
    if not path.is_dir():
        return True
    model = ("config.yaml", "adapter_config.json", "model.safetensors")
    return any(path.glob("*.safetensors")) and not any((path / name).is_file() for name in model)


def write_data_card(
    path: Path,
    published: Published | None = None,
    *,
    output: Path | None = None,
    split_by: str = "take",
    overwrite: bool = False,
) -> Path:
    """Write the card of a data file.

    Args:
        path: the data file, or a folder or pattern of packed files.
        published: its name and licence; the rest is not used.
        output: the card; None: ``data.md`` beside ``data.pt``, and ``README.md`` in a folder.
        split_by: what is never divided between splits, "take" or "subject".
        overwrite: replace a card that is already there.

    Returns:
        the file written.

    Raises:
        ConfigError: ``split_by`` is none of both.
        DataError: the file cannot be read.
        OutputExistsError: there is a card, and ``overwrite`` is false.
    """
    published = published or Published()
    if split_by not in ("take", "subject"):
        raise ConfigError(f"split-by={split_by}: take or subject expected")
    several = path.is_dir() or not path.exists()
    if output is None:
        output = (path if path.is_dir() else path.parent) / "README.md" if several else path.with_suffix(".md")
    check_absent(output, overwrite=overwrite, file=True)
    store, record = open_clips(path)
    check_writable(output)
    config = DataConfig()
    kept, left_out = filter_clips(store.infos, config)
    fractions = (config.val_fraction, config.test_fraction, config.split_seed)
    split_of = divide_takes(kept, *fractions, str(path), split_by)
    measured = measure(store, store.infos) if len(store.infos) <= MOST_CLIPS else None
    facts = DataFacts(
        name=published.name or (path.resolve().name if path.is_dir() else path.stem),
        path=path.name,
        infos=store.infos,
        record=record,
        license=published.license,
        licenses=licenses_of(record),
        kept=kept,
        left_out=left_out,
        split_by=split_by,
        split_of=split_of,
        measured=measured,
        leaks=leaks(measured, split_of) if measured else (),
    )
    with atomic_write(output, overwrite=overwrite) as scratch:
        scratch.write_text(f"---\n{_head(facts)}---\n\n{body(facts)}", encoding="utf-8")
    return output


def _head(facts: DataFacts) -> str:
    size = next((name for most, name in _SIZES if len(facts.infos) < most), _LARGEST)
    head: dict[str, Any] = {"pretty_name": facts.name, "size_categories": [size], "tags": list(TAGS)}
    if facts.license is not None:
        head = {"license": facts.license, **head}
    return str(yaml.safe_dump(head, sort_keys=False, allow_unicode=True))
