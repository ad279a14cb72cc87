"""`pairkit eval judge`: how well a judge agrees with people.

layouts.py    which columns of a file hold what
answers.py    the answers of a row and their prompt, from texts or conversations
labels.py     pairs of answers with a preference, from any file
agreement.py  measures of agreement, with intervals
plot.py       agreement by length of the answers
page.py       the report page
run.py        the whole evaluation, and the files it writes
"""
