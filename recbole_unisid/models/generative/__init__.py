"""Generative recommendation: codes of the next item, written one by one."""
