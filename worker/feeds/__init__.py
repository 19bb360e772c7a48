"""What brings a feed into the inventory."""
