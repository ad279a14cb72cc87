"""What people say about sets, and the ranker that uses it.

annotation.py  one annotation, and the line that it is in a file
file.py        the append-only file of an annotator: read, append, follow what others append
labels.py      the newest annotation of each set by each annotator, as columns
combine.py     the orders of one or several annotators as one score
ranker.py      the settings, and the scores of a table of sets
"""
