"""What the fuzzers of tests/fuzz share: hostile values, mutations, bounds, and how a command may end."""
