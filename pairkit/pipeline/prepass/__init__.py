"""What needs the whole prompt column: duplicates and decontamination, before the first unit of a build.

The source is read once from its first to its last row (twice where duplicates are merged), and nothing is
held of a prompt but its signature, its ids and three numbers. The outcome is a list of the sets that leave,
each with a reason of quarantine, which the units are then screened by.
"""
