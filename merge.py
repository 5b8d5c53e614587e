"""Merge an adapter into its base: ``python merge.py checkpoint=<run | .ckpt | adapter folder> output=merged.pth``."""

import hydra
from omegaconf import DictConfig

from stickgen.config import MergeConfig, register, typed
from stickgen.console import job_errors, run_hydra
from stickgen.signals import pass_signals_on

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="merge")
def main(composed: DictConfig) -> None:
    """Merge, verify and write."""
    with job_errors(MergeConfig):
        config = typed(composed, MergeConfig)
        # Here, and not above: --help and a mistyped key need no torch.
        from rich.console import Console

        from stickgen.export.merge import merge

        report = merge(config)
        console = Console(highlight=False, soft_wrap=True)
        console.print(
            f"{report.output}: {report.layers} layers merged\n"
            f"merged against unmerged on {report.clips} clips: largest difference {report.largest_difference:.3g} "
            f"(the adapter itself changes outputs by up to {report.adapter_effect:.3g})"
        )
        if report.stored_difference is not None:
            graph = config.output.endswith(".onnx")
            what = "onnxruntime against PyTorch" if graph else f"rounded to {config.save_dtype}"
            console.print(f"{what}: largest difference {report.stored_difference:.3g}")


if __name__ == "__main__":
    pass_signals_on()
    run_hydra(main, MergeConfig)
