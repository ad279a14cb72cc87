"""Commands in processes of their own, which end with the one that has started them.

start  starting them: all that they print goes to a log, which is locked as long as one of them lives
guard  the process between the two, which looks whether pairkit is still there
"""
