"""Preference data for language models, and training on it."""

__version__ = "0.1.0"
