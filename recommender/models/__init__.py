"""One file a model. `recommender.registry` names those that compete."""
