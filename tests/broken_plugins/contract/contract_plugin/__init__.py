"""A plugin whose model code cannot be used without segzoo."""
