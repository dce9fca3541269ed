"""Choosing the winner, and making it what production uses."""
