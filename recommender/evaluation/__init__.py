"""Compare models: splits, metrics, trials, the model search and the promotion decision."""
