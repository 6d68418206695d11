"""Training and evaluation of any network; the engines never see a name of a model."""
