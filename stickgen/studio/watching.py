"""How a run in training is doing, read from its TensorBoard folder: curves, and animations of its motion."""

import base64
import html
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stickgen.artifacts.run import RunFolder
from stickgen.errors import CheckpointError
from stickgen.metrics import METRICS
from stickgen.studio.curves import chart

_MOST = 4
_VALIDATED = ("pose_mse", "action_accuracy")
_BASELINES = {
    "pose_mse": {"constant velocity": "constant_velocity", "repeat last frame": "repeat_last_frame"},
    "action_accuracy": {"most frequent action": "most_frequent_action"},
}
_MOTION = "motion/"


class Watch:
    """The logs of the runs that were looked at last."""

    def __init__(self) -> None:
        self._logs: OrderedDict[Path, EventAccumulator] = OrderedDict()
        self._lock = threading.Lock()

    def step(self, folder: Path) -> int | None:
        """Return the last step that a run has logged; None where it has logged none."""
        log = self._read(folder)
        points = _scalars(log, "train/loss")
        return points[-1][0] + 1 if points else None

    def charts(self, folder: Path) -> str:
        """Return a run's curves beside the values of its base and of simple guesses, as HTML."""
        log = self._read(folder)
        if log is None:
            return "<p>No curves yet.</p>"
        charts = []
        for name in _VALIDATED:
            points = _scalars(log, f"val/{name}")
            beside = {"frozen base": points[0][1]} if points and points[0][0] == 0 else {}
            for title, tag in _BASELINES[name].items():
                if found := _scalars(log, f"baseline/{tag}_{name}"):
                    beside[title] = found[0][1]
            metric = METRICS[name]
            charts.append(chart(f"{metric.heading}, validation", points, beside, logarithmic=not metric.percent))
        charts.append(chart("loss, training", _scalars(log, "train/loss"), {}))
        return f'<div class="charts">{"".join(charts)}</div>'

    def motions(self, folder: Path) -> tuple[dict[str, int], str]:
        """Return the step of each of a run's last animations, and the animations as HTML."""
        log = self._read(folder)
        tags = [] if log is None else [tag for tag in log.Tags()["images"] if tag.startswith(_MOTION)]
        prompts = _prompts(folder) if tags else {}
        steps, pictures = {}, []
        for tag in tags:
            assert log is not None
            image, name = log.Images(tag)[-1], tag.removeprefix(_MOTION)
            steps[tag] = int(image.step)
            title = f"{prompts.get(name, name.replace('_', ' '))}, after step {image.step + 1}"
            alt = html.escape(f"animation: {title}: the real clip if there is one, the base, the model in training")
            content = base64.b64encode(image.encoded_image_string).decode()
            pictures.append(
                f'<figure><figcaption>{html.escape(title)}</figcaption><img src="data:image/gif;base64,{content}" '
                f'alt="{alt}" width="{image.width}" height="{image.height}"></figure>'
            )
        return steps, f'<div class="motions">{"".join(pictures)}</div>'

    def _read(self, folder: Path) -> EventAccumulator | None:
        place = folder / "tensorboard"
        if not place.is_dir():
            return None
        with self._lock:
            log = self._logs.pop(folder, None) or EventAccumulator(str(place), {"scalars": 0, "images": 1})
            self._logs[folder] = log
            while len(self._logs) > _MOST:
                self._logs.popitem(last=False)
            log.Reload()
            return log


def _scalars(log: EventAccumulator | None, tag: str) -> list[tuple[int, float]]:
    if log is None or tag not in log.Tags()["scalars"]:
        return []
    return [(event.step, float(event.value)) for event in log.Scalars(tag)]


def _prompts(folder: Path) -> Mapping[str, str]:
    """Return the texts of the prompts by the names of their animations."""
    try:
        shown = RunFolder(folder).read_config().callbacks.show_motion.prompts
    except CheckpointError:
        return {}
    return {f"prompt_{number}": prompt for number, prompt in enumerate(shown, 1)}
