-- The highest id given to a session; 0 when there is none.
select coalesce(max(id), 0) from warehouse.listen_history
