-- One id per row ever published.
copy (select id from warehouse.tracks) to stdout (format csv)
