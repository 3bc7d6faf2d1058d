"""Interactions: preparing, reading, ordering and splitting them."""
