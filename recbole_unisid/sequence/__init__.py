"""Sequence model: batches of whole sequences, the causal transformer, training losses."""
