"""Layouts of rows that people have: a table of them, how one is recognized, and how a user names another."""
