"""A stand-in for the MooVitamix API: same contract, listeners with tastes, days that pass, faults on demand."""
