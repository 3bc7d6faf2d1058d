"""Drawings as inline SVG: text keeps its size on every screen, since only positions scale."""
