"""Builds the data plane from the settings, starts it, and ends it in good order."""
