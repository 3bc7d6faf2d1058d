"""Classes of the user's own: finding, loading and checking them."""
