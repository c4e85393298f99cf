"""The program a charge point operator runs: chargers on one side, buyers on the other, the truth between."""
