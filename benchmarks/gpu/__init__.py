"""What `benchmarks/gpu.py` runs: its parts, each in processes of its own, and its table."""
