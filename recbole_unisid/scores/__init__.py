"""Scores: which candidates are scored for whom."""
