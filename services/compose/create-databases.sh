#!/bin/sh
# Runs once, when the volume of Postgres is empty: a role and a database of its own for the warehouse and for Prefect,
# and the role that serving takes, which the warehouse's may not make.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres \
    --set warehouse_password="$WAREHOUSE_PASSWORD" --set prefect_password="$PREFECT_PASSWORD" <<'SQL'
create role moovitamix_serving nologin;
create role moovitamix login password :'warehouse_password' in role moovitamix_serving;
create database moovitamix owner moovitamix;
create role prefect login password :'prefect_password';
create database prefect owner prefect;
SQL
