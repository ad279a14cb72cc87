"""What lies beside the sets: answers of judges, the questions to them, and what a training run recorded."""
