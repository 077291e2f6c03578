"""How models are compared: splits, metrics, trials, the model search, and the promotion decision."""
