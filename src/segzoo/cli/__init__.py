"""The command `segzoo`: one file per verb, each importing what it needs when it runs."""
