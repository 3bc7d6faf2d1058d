"""The border to RecBole: every mend, subclass and lookup of the host stands here."""
