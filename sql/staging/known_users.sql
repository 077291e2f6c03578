-- One id per row ever published.
copy (select id from warehouse.users) to stdout (format csv)
