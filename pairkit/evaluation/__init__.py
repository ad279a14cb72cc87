"""Evaluations: a folder per benchmark, and the accuracy of a model on checkable problems."""
