"""What certificates say and whether they hold. No socket, no clock: bytes and times are arguments."""
