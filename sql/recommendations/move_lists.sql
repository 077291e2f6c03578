-- From where lists are judged to where they are read.
alter table {staged} set schema ml
