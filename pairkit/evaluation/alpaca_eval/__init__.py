"""AlpacaEval 2: win rates against a reference's answers, plain and length-controlled.

questions       the instructions and the reference's answers, from files of several layouts
answers         `model_outputs.json`, read and written
annotations     `annotations.json`, read and written
hub             files of the Hub dataset, for whoever has none
gamed           `df_gamed.csv`: difficulties, and the gamed runs that length control needs
judging         the prompt, the order of the answers, and what a judge's answer is worth
verdicts        asking the judge, or reading stored verdicts
win_rate        the leaderboard's win rates
length_control  the length-controlled win rate and its error
head_to_head    predicted win rates between models that were not compared
agreement       how far two judges agree
scores          both of them for a model, as metrics
about           what results hold next to the numbers
recipe, inputs  the settings, and the files
run             the three steps
plan            what would be asked
prompt.txt      the public judge's prompt (Apache-2.0, its source is in the file)

Source: Dubois et al., Length-Controlled AlpacaEval (2024); https://github.com/tatsu-lab/alpaca_eval.
"""
