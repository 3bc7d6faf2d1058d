"""Runs: a model trained and evaluated on a data set, kept in a folder of its own."""
