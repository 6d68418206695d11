"""Other projects' functions on segzoo's models, so that who used them changes one import."""
