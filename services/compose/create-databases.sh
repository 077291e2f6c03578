#!/bin/sh
# Runs once, when the volume of Postgres is empty. It creates a database and an owner for the warehouse and for Prefect,
# the roles, which the owner of the warehouse may not create, and for each service a login that is a member of its role.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres \
    --set warehouse_password="$WAREHOUSE_PASSWORD" --set prefect_password="$PREFECT_PASSWORD" \
    --set ingest_password="$INGEST_PASSWORD" --set recommender_password="$RECOMMENDER_PASSWORD" \
    --set serving_password="$SERVING_PASSWORD" --set stream_password="$STREAM_PASSWORD" <<'SQL'
create role moovitamix_ingest nologin;
create role moovitamix_recommender nologin;
create role moovitamix_serving nologin;
create role moovitamix_analyst nologin;
create role moovitamix_stream nologin;
create role moovitamix login password :'warehouse_password' in role moovitamix_ingest, moovitamix_recommender;
create role ingest_worker login password :'ingest_password' in role moovitamix_ingest;
create role recommender_worker login password :'recommender_password' in role moovitamix_recommender;
create role serving_api login password :'serving_password' in role moovitamix_serving;
create role stream_consumer login password :'stream_password' in role moovitamix_stream;
create database moovitamix owner moovitamix;
revoke all on database moovitamix from public;
grant connect, temporary on database moovitamix to moovitamix_ingest, moovitamix_recommender, moovitamix_stream;
grant connect on database moovitamix to moovitamix_serving, moovitamix_analyst;
create role prefect login password :'prefect_password';
create database prefect owner prefect;
revoke all on database prefect from public;
SQL
