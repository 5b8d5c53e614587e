import numpy as np
from scipy.signal import savgol_filter


def smooth(points: np.ndarray, fps: float, seconds: float = 0.3, order: int = 3) -> np.ndarray:
    window = 2 * int(fps * seconds / 2) + 1
    if window <= order or len(points) < window:
        return points
    return savgol_filter(points, window, order, axis=0)


def one_euro(points, fps, min_cutoff=1.0, beta=0.3, d_cutoff=1.0):
    def alpha(c):
        tau = 1 / (2 * np.pi * c)
        return 1 / (1 + tau * fps)
    out = points.copy()
    dx = np.zeros_like(points[0])
    for t in range(1, len(points)):
        d = (points[t] - out[t - 1]) * fps
        dx = dx + alpha(d_cutoff) * (d - dx)
        c = min_cutoff + beta * np.abs(dx)
        out[t] = out[t - 1] + alpha(c) * (points[t] - out[t - 1])
    return out
