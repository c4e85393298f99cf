"""Beckn 2.0.0 for EV charging: JSON-LD in and out (BECKN 4). `decode` reads, `encode` writes."""
