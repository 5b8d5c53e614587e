"""What a model's predictions are worth: metrics, and the baselines they stand beside."""
