"""From scores to ranks, metrics, intervals and controls."""
