"""Settings: what was given, the defaults, the rules."""
