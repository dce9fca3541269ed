"""What is in a dataset, file by file, and what is wrong with it."""
