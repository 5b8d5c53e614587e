"""From the 2-D keypoints of a pose estimator to figures: layouts, and a chain of small cleaning steps."""
