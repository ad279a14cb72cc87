"""What a command does to its process: signals, and the streams that it writes to."""
