"""From a history of item vectors to a state a position."""
