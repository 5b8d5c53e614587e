"""stickgen in a notebook or a program: load a model, generate motion that plays, train.

These are ``stickgen.load``, ``stickgen.fit`` and the classes of what they return.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from stickgen.artifacts.model import LoadedModel, ModelOptions, load_model
from stickgen.config import PROJECT, TrainConfig, register
from stickgen.errors import ConfigError
from stickgen.generation import Generated
from stickgen.generation.generate import generate_with
from stickgen.generation.request import GenerationRequest
from stickgen.motion.skeleton import FPS
from stickgen.override_errors import override_mistake
from stickgen.render import Panel, save
from stickgen.reports.page import page
from stickgen.reports.scenes import Scene
from stickgen.text.encoder import Encoders
from stickgen.training import FitResult, job_settings
from stickgen.training import fit as fit_config


@dataclass(frozen=True, eq=False)
class Motion(Generated):
    """A generated motion. A notebook plays it; ``motion`` is the tensor ``[T, D]``, 25 frames a second."""

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the motion in the form that the name asks for, see :data:`stickgen.render.FORMS`.

        Raises:
            StickgenError: see :func:`stickgen.render.save`.
        """
        save(path, self._panel, overwrite=overwrite)

    @property
    def _panel(self) -> Panel:
        return Panel(self.motion, caption=self.prompt, given=self.given, actions=self.actions)

    def _repr_html_(self) -> str:
        """Return a player for notebooks, in a frame of its own that can reach nothing around it."""
        player = page([Scene(self.prompt, [self._panel], has_reference=False)], (), self.prompt)
        return (
            f'<iframe srcdoc="{html.escape(player)}" sandbox="allow-scripts" title="{html.escape(self.prompt)}" '
            'style="width:100%;max-width:34rem;height:46rem;border:0"></iframe>'
        )


@dataclass(frozen=True, eq=False, repr=False)
class Model(LoadedModel):
    """A model that is ready to generate; ``model`` is the network, an ``nn.Module`` in eval mode.

    Attributes:
        label: what messages call it.
    """

    label: str
    _encoders: Encoders = field(default_factory=dict, init=False)

    def generate(
        self,
        prompt: str,
        seconds: float = 10.0,
        *,
        seed: int | None = None,
        encoder: str | None = None,
        encoder_id: str | None = None,
    ) -> Motion:
        """Generate a motion from text, as ``stickgen generate`` does. The text encoder stays loaded for the next one.

        Args:
            prompt: what the figure does.
            seconds: how long, at 25 frames a second.
            seed: draws another motion of the prompt; None: the most typical one.
            encoder: hub id or folder of the text encoder; None: the one that the base's record names.
            encoder_id: the id of an encoder that is given as a folder.

        Raises:
            StickgenError: see :func:`stickgen.generation.generate`.
        """
        request = GenerationRequest([prompt], round(seconds * FPS), seed=seed)
        options = ModelOptions(encoder=encoder, encoder_id=encoder_id, kept=self._encoders)
        made = generate_with([(self.label, self)], request, options)
        return Motion(**vars(made[0]))

    def __repr__(self) -> str:
        kind = "adapter" if self.adapted else "base"
        return f"<stickgen {kind} {self.label}, fingerprint {self.fingerprint}>"


def load(path: Path | str, base: Path | str | None = None, *, allow_other_base: bool = False) -> Model:
    """Load a model with the settings that its file records.

    Args:
        path: a run folder, an adapter folder, a ``.ckpt`` of a run or a base's file. ``path=0.6`` applies 0.6 of an
            adapter.
        base: the base of an adapter; None: the one that the adapter names.
        allow_other_base: take a base that the adapter was not trained on, with a warning.

    Raises:
        StickgenError: the model is missing, damaged, or does not fit the base.
    """
    below = None if base is None else Path(base)
    return Model(**vars(load_model(Path(path), below, allow_other_base=allow_other_base)), label=str(path))


def fit(overrides: Sequence[str] = (), console: Console | None = None) -> FitResult:
    """Train as ``stickgen train`` does, with the same settings and the same folder.

    Args:
        overrides: settings as on the command line, such as ``["experiment=style", "lora.rank=4"]``.
        console: where the summary and the results are printed; None: standard output, or the notebook.

    Returns:
        the run's folder and its scores.

    Raises:
        StickgenError: a setting, the data or the base is wrong.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r}: a list expected, such as ['experiment=style', 'lora.rank=4']")
    register()
    hydra = HydraConfig.instance()
    former = hydra.cfg
    try:
        with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
            composed = compose("train", list(overrides), return_hydra_config=True)
        if composed.hydra.mode == RunMode.MULTIRUN:
            raise ConfigError("sweep: fit trains one run; stickgen train runs a sweep")
        hydra.set_config(composed.copy())  # the run records the overrides as its command
        folder = composed.hydra.run.dir
        with open_dict(composed):
            del composed["hydra"]
        return fit_config(job_settings(composed, folder, overrides), console or Console())
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(override_mistake(error, TrainConfig)) from None
    finally:
        hydra.cfg = former
