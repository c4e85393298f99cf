"""What the business decides. Pure: standard library only, no clock, no chance, no IO.

Times are UTC milliseconds since the epoch (`at_ms`), energy is whole Wh, money is `Decimal` while a price is
being worked out and integer minor units (`amount_minor`, paise) once it is booked.
"""
