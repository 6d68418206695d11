"""A verb each, from names to what it leaves behind."""
