"""The kit of report pages: blocks of HTML and plots as SVG, without data of their own.

html.py          a self-contained page and its elements
blocks.py        differences and candidate sets
plots.py         curves and bars as inline SVG
scores.py        values with intervals, and distributions
grids.py         small multiples: curves with bands, histograms, planes, shares
paths.py         points that are joined in their order
word_diff.py     the words in which two texts differ
side_by_side.py  texts to one prompt, with these words marked
"""
