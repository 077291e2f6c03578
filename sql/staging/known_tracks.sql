-- One id per row ever published, in rising order.
copy (select id from warehouse.tracks order by id) to stdout (format csv)
