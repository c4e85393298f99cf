"""Bringing texts to telephones: adapters of `ports.Messenger`."""
