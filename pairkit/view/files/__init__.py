"""What is opened: Parquet files of sets, where they are, and files of pairs converted to them."""
