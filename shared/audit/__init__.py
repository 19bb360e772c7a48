"""The audit: whether all that the store says of numbers, orders and organizations agrees."""
