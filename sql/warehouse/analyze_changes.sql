-- Tells the planner how small the changes are.
analyze changed_sessions;
analyze removed_sessions
