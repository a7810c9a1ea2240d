"""Experiment trackers: they get a copy of what the run directory holds, and cannot change the run."""
