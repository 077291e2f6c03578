"""The mock API. It has the endpoints of the MooVitamix API, users with known tastes, simulated days and faults."""
