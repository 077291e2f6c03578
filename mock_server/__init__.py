"""The mock API: the contract of the MooVitamix API, users with known tastes, days that advance, faults on demand."""
