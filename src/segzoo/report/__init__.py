"""What a person looks at after a run: curves, panels, the confusion matrix."""
