"""Next-item losses."""
