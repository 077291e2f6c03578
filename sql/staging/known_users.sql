-- One id per row ever published, in rising order.
copy (select id from warehouse.users order by id) to stdout (format csv)
