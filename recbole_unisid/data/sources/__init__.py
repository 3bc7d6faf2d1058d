"""Public originals and people's own tables, read as streams of plain records."""
