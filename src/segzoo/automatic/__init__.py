"""From a data set to a trained model without a flag: what it is like, a plan, a training."""
