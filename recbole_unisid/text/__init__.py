"""Item text, read from the `.item` file without quoting traps."""
