"""Several rankers as a panel: one score of all, and how far they agree.

alpha.py      Krippendorff's alpha
agreement.py  on how many pairs of completions two rankers agree: counted, and described
stage.py      the panel's score and these counts, for a table of sets; what a recipe may name as a panel
"""
