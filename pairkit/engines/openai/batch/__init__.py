"""Batches: many requests in a file, answered within a day at a lower price (OpenAI's files and batches API).

store.py    which requests are in which batch, on disk before anything is submitted
api.py      the server: upload, create, find, look, download
lines.py    the file of a batch: a line per request, and the lines of the answers
pending.py  the batch that is being filled
engine.py   the engine: what is put into a batch, what is waited for, and what is asked directly
plan.py     what batches would be submitted, for a dry run
"""
