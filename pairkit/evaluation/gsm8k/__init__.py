"""`pairkit eval gsm8k`: math problems whose answer is a number (Cobbe et al., 2021; MinorDPO's benchmark).

recipe.py     the prompt and the decoding
questions.py  problems with their numbers, from any file with questions and answers
scoring.py    which answers are right, which were cut off, which repeat themselves
run.py        the whole evaluation, and the files it writes
"""
