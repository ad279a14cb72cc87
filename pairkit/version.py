"""The version of pairkit, which the manifest of every artifact has."""

__version__ = "0.1.0"
