"""How often the alarm on falling quality is right, wrong and late: seeded simulations, and the part of a page."""
