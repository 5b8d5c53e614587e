import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from stickgen.data.clips import Clip
from stickgen.data.stores import ClipsInMemory
from stickgen.errors import ConfigError
from stickgen.evaluation.clip_measures import MEASURES, RANKED, Measured, Rule, leaks, measure
from stickgen.motion.skeleton import FPS
from stickgen.sample import sample_sequences
from tests.render.figures import walking


def store_of(motions: list[np.ndarray], **own: list[object]) -> ClipsInMemory:
    rows = [dict(zip(own, values, strict=True)) for values in zip(*own.values(), strict=True)] or [{}] * len(motions)
    return ClipsInMemory(
        [
            Clip(torch.tensor(motion).float(), torch.zeros(8), "x", **{"take": str(at), "index": at, **row})  # type: ignore[arg-type]
            for at, (motion, row) in enumerate(zip(motions, rows, strict=True))
        ]
    )


def measured_of(motions: list[np.ndarray], **own: list[object]) -> Measured:
    store = store_of(motions, **own)
    return measure(store, store.infos)


def dancing(seed: int, frames: int = 60) -> np.ndarray:
    return sample_sequences(1, seed=seed, actions=["dance"])[0]["motion"][:frames].numpy()


def test_measures_of_motion_are_what_their_formulas_give() -> None:
    # All joints go along x by the same cubic, whose third derivative is 6 in body heights / s³.
    time = np.arange(50) / FPS
    cubic = walking(50, speed=0.0)
    cubic[:, 0::2] += time[:, None] ** 3
    glides = walking(50, speed=0.02)  # 0.5 body heights a second, feet on the ground
    stretched = walking(50, speed=0.0)
    torso = stretched[0, 1] - stretched[0, 3]
    stretched[10, 1] += torso  # the torso is twice as long in a frame
    lengths = 0.304 + 2 * 0.466 + 2 * np.hypot(0.06, 0.29)
    values = measured_of([cubic, glides, stretched]).values
    assert values["jerk"][0] == pytest.approx(6, rel=1e-2)
    assert values["jerk"][1] == pytest.approx(0, abs=1e-1)
    assert values["skating"][1] == pytest.approx(0.5, rel=1e-4)
    assert values["bones"][2] == pytest.approx(0.304 / lengths, rel=1e-3)
    assert values["bones"][1] == pytest.approx(0, abs=1e-5)
    assert values["stillness"].tolist()[1:] == [0.0, pytest.approx(47 / 49)]
    assert values["frames"].tolist() == [50, 50, 50]
    assert values["speed"][1] == pytest.approx(0.5, rel=1e-4)
    assert values["height"].tolist() == pytest.approx([float(np.ptp(glides[0, 1::2]))] * 3, rel=1e-3)


def test_odd_is_the_mean_rank() -> None:
    clips = [dancing(seed) for seed in range(6)] + [walking(2), walking(50, speed=0.0), walking(40, speed=0.0)]
    values = measured_of(clips).values
    ranks = np.stack([(rankdata(values[name], nan_policy="omit") - 1) for name in RANKED])
    ranks /= np.sum(~np.isnan(ranks), axis=1, keepdims=True) - 1
    np.testing.assert_allclose(values["odd"], np.nanmean(ranks, axis=0))
    assert np.isnan(ranks[:, 6]).any()


def test_a_copy_is_a_duplicate_of_the_earlier_clip_and_an_odd_clip_an_outlier() -> None:
    clips = [dancing(seed) for seed in range(8)] + [walking(60, speed=0.1)]
    clips.insert(5, clips[2] + np.float32(1e-4))
    measured = measured_of(clips)
    duplicate = measured.values["duplicate"]
    assert np.isnan(duplicate[0])
    assert duplicate[5] < 0.01 < np.delete(duplicate, [0, 5]).min()
    assert measured.neighbours[5] == 2
    assert measured.neighbours[0] == -1
    assert np.nanargmax(measured.values["outlier"]) == 9
    # By the definition, pair by pair.
    features = measured.features.numpy()
    away = np.sqrt(((features[:, None] - features) ** 2).mean(axis=-1))
    np.testing.assert_allclose(duplicate[1:], [away[at, :at].min() for at in range(1, 10)], atol=1e-3)
    fifth = np.sort(away + np.diag([np.inf] * 10), axis=1)[:, 4]
    np.testing.assert_allclose(measured.values["outlier"], fifth / np.median(np.sort(fifth)[4:5]), rtol=1e-2)


def test_measures_spread_where_the_quality_does_not() -> None:
    clips = sample_sequences(40, seed=3)
    values = measured_of([clip["motion"].numpy() for clip in clips]).values
    for name in ("jerk", "stillness", "duplicate", "outlier", "bones"):
        low, high = np.nanquantile(values[name], (0.1, 0.9))
        assert high > 2 * max(low, 1e-9), name


def test_the_shortest_clips_and_both_figures_are_measured_together() -> None:
    measured = measured_of([walking(1), walking(2), walking(9, 48), walking(3)])
    assert [len(values) for values in measured.values.values()] == [4] * len(MEASURES)
    assert np.isnan(measured.values["jerk"][:2]).all()
    assert np.isfinite(measured.values["duplicate"][1:]).all()
    assert measured_of([walking(5)]).values["outlier"].shape == (1,)


def test_clips_that_cannot_be_read_are_named() -> None:
    store = store_of([walking(9), walking(9)])
    from stickgen.errors import DataError

    whole = store.load
    store.load = lambda at: whole(at) if at else (_ for _ in ()).throw(DataError("clip 0: NaN"))  # type: ignore[method-assign]
    measured = measure(store, store.infos)
    assert ([info.index for info in measured.infos], measured.unreadable) == ([1], ["clip 0: NaN"])


def test_a_near_duplicate_in_train_is_a_leak() -> None:
    clips = [dancing(seed) for seed in range(6)]
    clips += [clips[1] + np.float32(1e-4), walking(60, speed=0.1)]
    measured = measured_of(clips)
    split_of = {str(at): "train" for at in range(6)} | {"6": "test", "7": "val"}
    (leak,) = leaks(measured, split_of)
    assert (leak.split, leak.held_out.index, leak.train.index) == ("test", 6, 1)
    assert leak.distance < 0.01
    assert leaks(measured, split_of | {"1": "test"}) == []
    assert leaks(measured, {}) == []


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("frames>5", [1, 2]),
        ("frames >= 5", [0, 1, 2]),
        ("frames<9.5", [0, 1]),
        ("frames<=.5", []),
        ("quality<0.9", [0]),
    ],
)
def test_rules(text: str, flagged: list[int]) -> None:
    measured = measured_of([walking(5), walking(9), walking(12)], quality=[0.5, None, 1.0])
    rule = Rule.parse(text)
    assert rule.flags(measured).nonzero()[0].tolist() == flagged
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text", ["", "jerk", "jerk>", "jerk=3", "jerk>x", "beauty>3", "jerk>3 or 1", "jerk>-1", "jerk>1e3"]
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(ConfigError, match=r"flag=.*measures: odd, jerk, skating"):
        Rule.parse(text)
