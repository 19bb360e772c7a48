"""Orders and what organizations have by them."""
