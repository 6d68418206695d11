"""Small things that everything stands on."""
