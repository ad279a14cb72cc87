"""Many training runs of one recipe, and which setting is best by a metric that is named before them.

grid     settings to try: axes, points, their names
run      the runs that are not finished yet, one after another or several at a time
worker   one run in a process of its own
results  what the runs measured, setting by setting
"""
