"""Adapters from one form of file to another, and whole models as graphs; what ``stickgen convert`` does."""

from pathlib import Path

from stickgen.artifacts.adapter import FILES, base_for, check_base, save_adapter
from stickgen.artifacts.base import base_files, check_outputs_absent, load_base, save_base
from stickgen.artifacts.model import is_whole, parts, read_adapter
from stickgen.artifacts.reference import SUFFIXES, write_reference_adapter
from stickgen.artifacts.wrapped import read_wrapped_base
from stickgen.errors import CheckpointError, ConfigError
from stickgen.export.onnx import require_onnx, write_onnx
from stickgen.files import check_absent, check_folder, check_keeps

FORMS = {
    "peft": ("",),
    "checkpoint": (".pth", ".pt"),
    "bare": (".safetensors", ".pth", ".pt"),
    "wrapped": (".pth", ".pt"),
    "base": SUFFIXES,
    "onnx": (".onnx",),
}
"""Forms of output and the endings of their names; the first form that has the output's is the one meant."""


def convert(
    source: Path,
    output: Path,
    to: str | None = None,
    *,
    alpha: float | None = None,
    base: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Write an adapter in another form, or a whole model as a graph; nothing but the form changes.

    Args:
        source: a run folder, a .ckpt of one, an adapter folder, or a file of the reference system; for "onnx" a base,
            a merged model, or the folder of a run that trained whole weights.
        output: the folder or file.
        to: "peft" (a folder), "checkpoint", "bare" or "wrapped" (files of the reference system, see
            :func:`~stickgen.artifacts.reference.write_reference_adapter`), "base" (of a wrapped source, its base) or
            "onnx" (see :func:`~stickgen.export.onnx.write_onnx`). None: as the name of the output tells.
        alpha: of a bare source, which does not tell it.
        base: the base to wrap; None: the one that the adapter names.
        overwrite: replace an existing output.

    Returns:
        what was written, in words.

    Raises:
        ConfigError: ``to`` is no form, or does not go with the output's name or with another argument.
        CheckpointError: the source is none, or cannot be said in that form.
        OutputExistsError: the output exists and ``overwrite`` is false; or it would take the place of the source, of a
            folder that holds anything beside an adapter, or as a file that of a folder.
        StickgenError: a graph is asked for, and a package for that is not installed.
    """
    form = _form(output, to)
    if base is not None and form != "wrapped":
        raise ConfigError(f"base={base}: is for to=wrapped, which holds it; {form} does not")
    if alpha is not None and form in ("base", "onnx"):
        raise ConfigError(f"alpha={alpha}: is an adapter's, and to={form} writes none")
    if form == "peft":
        check_folder(output, FILES, overwrite=overwrite)
    elif form == "base":
        check_outputs_absent(output, overwrite=overwrite)
    else:
        check_absent(output, overwrite=overwrite, file=True)
    check_keeps(base_files(output) if form == "base" else [output], parts(source))
    if form == "base":
        return _write_wrapped_base(source, output, overwrite=overwrite)
    if form == "onnx":
        return _write_graph(source, output, overwrite=overwrite)
    adapter = read_adapter(source, alpha)[0]
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
    return f"{told}; alpha is not in it: --alpha {alpha_to_give} reads it" if form == "bare" else told


def _form(output: Path, to: str | None) -> str:
    """Return the form of an output: the one asked for, else what its name says."""
    if to is None:
        to = next((form for form, suffixes in FORMS.items() if output.suffix in suffixes), None)
        if to is None:
            raise ConfigError(
                f"{output}: a name without an ending (a folder), or of .pth, .pt, .safetensors or .onnx expected; --to "
                "peft takes any"
            )
    if to not in FORMS:
        raise ConfigError(f"to={to}: {', '.join(FORMS)} expected")
    if to != "peft" and output.suffix not in FORMS[to]:
        raise ConfigError(f"{output}: a name ending in {' or '.join(FORMS[to])} expected for to={to}")
    return to


def _write_wrapped_base(source: Path, output: Path, *, overwrite: bool) -> str:
    if source.is_dir():
        raise CheckpointError(f"{source}: a folder; to=base takes the base out of a .pth that is wrapped around it")
    inside = read_wrapped_base(source)
    save_base(inside.model, inside.record, output, overwrite=overwrite)
    return f"the base inside {source}, fingerprint {inside.fingerprint}"


def _write_graph(source: Path, output: Path, *, overwrite: bool) -> str:
    require_onnx()
    if not is_whole(source):
        raise CheckpointError(
            f"{source}: a whole model expected for an .onnx; an adapter is merged into one: "
            f"stickgen merge checkpoint={source} output={output}"
        )
    base = load_base(source)
    difference = write_onnx(base.model, base.record, output, overwrite=overwrite)
    return f"the graph of {source}; onnxruntime against PyTorch: largest difference {difference:.3g}"
