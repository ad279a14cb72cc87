"""Answers that the policy generates while it is trained, and their scores.

settings.py  the block of the recipe
curve.py     measuring the policy, in one process or several
"""
