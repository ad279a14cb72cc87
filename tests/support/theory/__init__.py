"""docs/theory.md: what the five papers state, what of it holds as printed, and the numbers that show it."""
