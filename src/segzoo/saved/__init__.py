"""What a saved folder says."""
