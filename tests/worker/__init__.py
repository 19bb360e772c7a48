"""What the worker does with feeds before they are read."""
