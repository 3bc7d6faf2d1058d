"""The models as RecBole sees them."""
