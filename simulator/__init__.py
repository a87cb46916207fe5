"""A generator of Sparkify event logs: the project's own source of raw data, of any size."""
