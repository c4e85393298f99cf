"""Beckn 1.1.0: one reader, one writer, and the words of each network as data (BECKN 5)."""
