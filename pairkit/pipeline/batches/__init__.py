"""Builds whose calls go into batches (`calls.batch`).

passes.py  all units are asked for at once, until every call is answered
later.py   a model without batches, in a pool with others
plan.py    what would be submitted, and what it costs at most, for a dry run
"""
