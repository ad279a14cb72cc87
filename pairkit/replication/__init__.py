"""The papers' claims in miniature: each a design that is written down before its runs, and a verdict.

A replication is a row of data: what a paper claims, the arms that are trained, and the statistics of them
that decide. A task makes a start, candidate sets and problems for every seed; the arms of a seed share them.
An arm is trained once, whichever replications have it, because its run's directory is named by its content.

tasks      what is trained on and how answers are checked
claims     the replications, a file per paper, and their table
design     arms, statistics, replications: plain data with a hash
bench      a task at one seed: its start, its sets, the runs of arms and what they measured
measuring  from a model to numbers of problems and of training pairs
measured   these numbers, and all arms of a seed, resampled
quantities a number of one model; statistics: a number of the arms of a seed
tuning     the settings of an arm, chosen on other problems and seeds
verdicts   intervals over seeds and problems, and held, did not hold or undecided
record     whose directory it is, and which design its runs belong to
plan       the runs of a design, and how long they take
run        all of it, from the start or continued
page       docs/replication.md, with the figures of `figures`
"""
