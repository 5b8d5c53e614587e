"""``stickgen merge``, which is also ``python merge.py``: merge an adapter into its base."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from stickgen.config import PROJECT, MergeConfig, register, typed
from stickgen.console import job_errors, run_hydra
from stickgen.files import check_absent, check_exists
from stickgen.signals import pass_signals_on

register()


@hydra.main(version_base="1.3", config_path=str(PROJECT / "conf"), config_name="merge")
def main(composed: DictConfig) -> None:
    """Merge, verify and write."""
    with job_errors(MergeConfig):
        config = typed(composed, MergeConfig)
        for source in config.sources:
            check_exists(Path(source))
        check_absent(Path(config.output), overwrite=config.overwrite, file=True)
        # Here, and not above: --help, and mistakes that are seen without torch, do not wait for it.
        from rich.console import Console

        from stickgen.data.clips import counted
        from stickgen.export.merge import merge

        report = merge(config)
        console = Console(highlight=False, soft_wrap=True)
        console.print(
            f"{report.output}: {counted(report.layers, 'layer')} merged\n"
            f"merged against unmerged on {counted(report.clips, 'clip')}: "
            f"largest difference {report.largest_difference:.3g} "
            f"(the adapter itself changes outputs by up to {report.adapter_effect:.3g})"
        )
        if report.stored_difference is not None:
            graph = config.output.endswith(".onnx")
            what = "onnxruntime against PyTorch" if graph else f"rounded to {config.save_dtype}"
            console.print(f"{what}: largest difference {report.stored_difference:.3g}")


def run() -> None:
    """Run the command line; mistakes in it are one line and exit status 1."""
    pass_signals_on()
    run_hydra(main, MergeConfig)
