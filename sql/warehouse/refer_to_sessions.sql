-- One month of plays: each belongs to a session of that month.
alter table {plays} add foreign key (listen_history_id, created_at) references {sessions} (id, created_at)
