"""Payment gateways behind `ports.Payments`."""
