"""Experiment parallelism: many trials of a search, side by side on Ray, recorded together."""
