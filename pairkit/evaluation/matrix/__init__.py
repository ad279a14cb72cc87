"""Head-to-head win rates of any number of models on any prompts, each pair judged in both orders.

prompts         the prompts, from files of several layouts
answers         the answers of a model, from files of several layouts
recipe, inputs  the settings, and the files
judging         the games of all pairs, asked
stored          verdicts of an earlier matrix
table           the matrix of win rates, with intervals, ties and flips
strengths       Bradley-Terry strengths, with a bootstrap of all pairs together
cycles          circles among models of which each is better than the next
outcomes        what is written: of the matrix, and of each model
about           what results hold next to the numbers
plot            the matrix as a picture
page            the matrix, its pairs and strengths on the page
run             the three steps
plan            what would be asked
"""
