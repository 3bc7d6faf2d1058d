"""Item representation: semantic tokens and the ID token as one vector."""
