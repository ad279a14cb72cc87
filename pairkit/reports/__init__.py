"""The kit of report pages: blocks of HTML and plots as SVG, without data of their own.

html.py    a self-contained page and its elements
blocks.py  differences and candidate sets
plots.py   curves and bars as inline SVG
"""
