"""Bells: ways to say "look into the journal" between tasks (and, later, between nodes)."""
