"""How available numbers are found."""
