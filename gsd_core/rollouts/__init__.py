"""What a model answers: texts that it writes, and whether they are right."""
