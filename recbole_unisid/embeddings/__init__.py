"""Item text to vectors: encoders behind one interface, and their cache."""
