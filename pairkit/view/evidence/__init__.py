"""What is known of sets besides their content: judges' answers, the questions, what a training recorded."""
