"""How often the drift detector is wrong or late: seeded simulations, and their part of a page."""
