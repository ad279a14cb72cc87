"""`pairkit eval judge`: how well a judge agrees with people.

labels.py     pairs of answers with human labels, from any file
agreement.py  measures of agreement, with intervals
plot.py       agreement by length of the answers
run.py        the whole evaluation, and the files it writes
"""
