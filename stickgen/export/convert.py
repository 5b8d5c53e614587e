"""Adapters from one form of file to another; what ``stickgen convert`` does."""

from pathlib import Path

from stickgen.artifacts.adapter import FILES, base_for, check_base, save_adapter
from stickgen.artifacts.base import base_files, check_outputs_absent, save_base
from stickgen.artifacts.model import parts, read_adapter
from stickgen.artifacts.reference import SUFFIXES, read_reference_adapter, write_reference_adapter
from stickgen.artifacts.wrapped import read_wrapped_base
from stickgen.errors import ConfigError
from stickgen.files import check_absent, check_folder, check_keeps

FORMS = ("peft", "checkpoint", "bare", "wrapped", "base")


def convert(
    source: Path,
    output: Path,
    to: str | None = None,
    *,
    alpha: float | None = None,
    base: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Write an adapter in another form; nothing but the form changes.

    Args:
        source: a run folder, a .ckpt of one, an adapter folder, or a file of the reference system.
        output: the folder or file.
        to: "peft" (a folder), "checkpoint", "bare" or "wrapped" (files of the reference system, see
            :func:`~stickgen.artifacts.reference.write_reference_adapter`), or "base" (of a wrapped source, its base).
            None: as the name of the output tells.
        alpha: of a bare source, which does not tell it.
        base: the base to wrap; None: the one that the adapter names.
        overwrite: replace an existing output.

    Returns:
        what was written, in words.

    Raises:
        ConfigError: ``to`` is no form, or does not go with the output's name.
        CheckpointError: the source is none, or cannot be said in that form.
        OutputExistsError: the output exists and ``overwrite`` is false; or it would take the place of the source, of a
            folder that holds anything beside an adapter, or as a file that of a folder.
    """
    form = to or {"": "peft", ".safetensors": "bare"}.get(output.suffix, "checkpoint")
    if form not in FORMS:
        raise ConfigError(f"to={form}: {', '.join(FORMS)} expected")
    if form != "peft" and output.suffix not in SUFFIXES:
        raise ConfigError(f"{output}: a name ending in .pth, .pt or .safetensors expected for to={form}")
    if form == "peft":
        check_folder(output, FILES, overwrite=overwrite)
    elif form == "base":
        check_outputs_absent(output, overwrite=overwrite)
    else:
        check_absent(output, overwrite=overwrite, file=True)
    check_keeps(base_files(output) if form == "base" else [output], parts(source))
    if form == "base":
        inside = read_wrapped_base(source)
        save_base(inside.model, inside.record, output, overwrite=overwrite)
        return f"the base inside {source}, fingerprint {inside.fingerprint}"
    if source.is_file() and source.suffix in SUFFIXES:
        adapter = read_reference_adapter(source, alpha)
    elif alpha is not None:
        raise ConfigError(f"alpha={alpha:g}: is for files that do not tell it; {source} does")
    else:
        adapter = read_adapter(source)[0]
    told = f"adapters of {adapter.settings} in {len(adapter.modules)} layers"
    if form == "peft":
        save_adapter(adapter, output, overwrite=overwrite)
        return told
    whole = None
    if form == "wrapped":
        whole = base_for(adapter, base, str(source))
        check_base(whole, adapter, str(source), way_out="--base names its own")
    write_reference_adapter(adapter, output, bare=form == "bare", base=whole, overwrite=overwrite)
    # Read as alpha / rank, whatever the rule was.
    alpha_to_give = adapter.settings.scaling_of("") * adapter.settings.rank
    return f"{told}; alpha is not in it: --alpha {alpha_to_give:g} reads it" if form == "bare" else told
