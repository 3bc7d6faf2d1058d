"""Serving: a finished run as a recommender, without its data set."""
