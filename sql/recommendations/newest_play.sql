-- One row: when somebody last played anything before a moment; null when nobody did.
select max(listened_at) from mart.fact_listens where listened_at < %(before)s
