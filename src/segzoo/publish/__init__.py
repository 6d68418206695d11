"""From a run to the Hub."""
