"""Ranks and what follows from them: metrics, slices, leak controls, statistics."""
