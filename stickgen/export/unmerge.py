"""The base of a merged model; what ``stickgen unmerge`` does."""

from pathlib import Path

from stickgen.artifacts.base import base_files, check_outputs_absent, load_base, save_base
from stickgen.artifacts.base_lookup import find_base
from stickgen.artifacts.model import parts
from stickgen.errors import CheckpointError
from stickgen.files import check_keeps


def unmerge(merged: Path, output: Path, base: Path | None = None, *, overwrite: bool = False) -> str:
    """Write the base that a merged model was made from, bit for bit.

    It is the stored base, which the model's record names by its fingerprint. Subtracting the update from rounded
    weights would give another one.

    Args:
        merged: a model that merge.py wrote.
        output: the base's file: .safetensors, .pth or .pt.
        base: where it lies; None: where it lay at the merge, or among those that come with stickgen.
        overwrite: replace an existing output.

    Returns:
        what was written, in words.

    Raises:
        CheckpointError: the model was not merged by stickgen, or the base is not to be found or another one.
        OutputExistsError: the output exists and ``overwrite`` is false, or is the model or the base.
    """
    check_outputs_absent(output, overwrite=overwrite)
    origin = load_base(merged).record.origin
    digest = origin.get("base_fingerprint")
    if digest is None:
        raise CheckpointError(f"{merged}: its record names no base that it was merged from, as merge.py writes it")
    lay = origin.get("base_path")  # which models merged before it was written down do not tell
    found = load_base(base) if base is not None else find_base(None if lay is None else str(lay), digest, str(merged))
    if found.fingerprint != digest:
        raise CheckpointError(
            f"{found.path}: fingerprint {found.fingerprint}; {merged} was merged from the base {digest}, name that "
            "with --base"
        )
    check_keeps(base_files(output), [*parts(merged), *base_files(found.path)])
    save_base(found.model, found.record, output, overwrite=overwrite)
    return f"the base that {merged} was merged from, fingerprint {digest}"
