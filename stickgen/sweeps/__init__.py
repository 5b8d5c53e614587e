"""Sweeps: a job that knows what it has behind it, a search by Optuna, and the report on all jobs."""
