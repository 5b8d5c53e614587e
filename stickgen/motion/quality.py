"""A score that tells clean motion from noise, teleports, and frozen or shuffled frames."""

import numpy as np

from stickgen.motion.skeleton import FPS, skeleton_of

# Limits in body heights (H) and seconds. Clean motion capture stays below: over 359 clips of CMU mocap in two views
# the pelvis reached 2.4 H/s and 15 H/s², the fastest joint 148 H/s² (a punch), while a joint that jumps by 0.3 H from
# one frame to the next and stays there has 188 H/s², and one that jumps back 375 H/s².
MAX_PELVIS_SPEED = 6.0  # a sprinter's 10 m/s
MAX_PELVIS_ACCELERATION = 30.0
MAX_PELVIS_JERK = 1000.0
MAX_JOINT_ACCELERATION = 150.0
SMOOTH_CORRELATION = 0.5
MIN_JOINT_SPEED = 0.01
STILL = 1e-6  # H a frame: less than any sensor's noise


def quality_score(motion: np.ndarray, physics: np.ndarray) -> float:
    """Score a clip from 0 to 1: the mean of three scores, each from 0 to 1.

    * :func:`physics_score`: does the pelvis move as a body can?
    * :func:`constancy_score`: do the joints move on from frame to frame without jumps and jitter?
    * :func:`activity_score`: does anything move, and in every frame?

    One score of 0 keeps a clip below the usual threshold of 0.8. The score judges the tracking, not the acting.

    Args:
        motion: ``[T, D]``, D = 20 or 48, in body heights at 25 frames a second.
        physics: ``[T, 6]``, as :func:`~stickgen.motion.physics.body_physics` returns it.
    """
    return (physics_score(physics) + constancy_score(motion) + activity_score(motion)) / 3


def physics_score(physics: np.ndarray) -> float:
    """Return how far the pelvis keeps to humanly possible speed, acceleration and jerk; 1 where it does.

    The worst frame counts, since one impossible frame spoils a clip: the score is limit / peak, for the quantity that
    oversteps its limit furthest.

    Args:
        physics: ``[T, 6]``: vx, vy, ax, ay, momentum x, momentum y.
    """
    speed = np.linalg.norm(physics[:, :2], axis=1)
    acceleration = np.linalg.norm(physics[:, 2:4], axis=1)
    jerk = np.linalg.norm(np.diff(physics[:, 2:4], axis=0), axis=1) * FPS
    return min(
        _within(speed, MAX_PELVIS_SPEED),
        _within(acceleration, MAX_PELVIS_ACCELERATION),
        _within(jerk, MAX_PELVIS_JERK),
    )


def constancy_score(motion: np.ndarray) -> float:
    """Return how steadily the joints move on; 1 for smooth motion.

    The lesser of two: the peak of a joint's acceleration against its limit (a teleport), and the correlation of a
    frame's displacements with those of the next frame (jitter). The correlation needs no unit: it is near 1 for smooth
    motion at any speed, 0 for a random walk and -0.5 for independent frames. Segment lengths are no criterion, since
    a limb that turns towards the viewer shortens.

    Args:
        motion: ``[T, D]``. Fewer than three frames say nothing and score 1.
    """
    if len(motion) < 3:
        return 1.0
    steps = _steps(motion)
    acceleration = np.linalg.norm(np.diff(steps, axis=0), axis=-1) * FPS**2
    energy = float((steps[:-1] ** 2).sum() + (steps[1:] ** 2).sum()) / 2
    correlation = float((steps[:-1] * steps[1:]).sum()) / energy if energy > 0 else 1.0
    return min(_within(acceleration, MAX_JOINT_ACCELERATION), float(np.clip(correlation / SMOOTH_CORRELATION, 0, 1)))


def activity_score(motion: np.ndarray) -> float:
    """Return how alive the clip is; 0 for a still picture.

    The mean speed of the joints against that of somebody standing still, less four times the share of frames that
    repeat the one before: a clip of which a quarter is frozen has no value.

    Args:
        motion: ``[T, D]``. A single frame scores 0.
    """
    if len(motion) < 2:
        return 0.0
    distances = np.linalg.norm(_steps(motion), axis=-1)
    frozen = float((distances.max(axis=1) < STILL).mean())
    return min(1.0, float(distances.mean()) * FPS / MIN_JOINT_SPEED) * max(0.0, 1 - 4 * frozen)


def _steps(motion: np.ndarray) -> np.ndarray:
    """Displacement of both ends of every segment from frame to frame, ``[T - 1, 2 S, 2]``.

    Not of the joints: where segments share a joint, each segment's own end is looked at.
    """
    skeleton_of(motion.shape[1])
    return np.diff(np.asarray(motion, dtype=np.float64).reshape(len(motion), -1, 2), axis=0)


def _within(values: np.ndarray, limit: float) -> float:
    return min(1.0, limit / max(float(values.max(initial=0.0)), limit))
