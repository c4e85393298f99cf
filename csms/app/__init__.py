"""Use cases: load, decide, save, journal; one transaction each. Nobody here knows who is listening."""
