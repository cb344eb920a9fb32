# pyengine for a user without rights. What it is built with stays behind. docs/batch.md says how to build and run it.
FROM python:3.12.11-slim-bookworm AS build
ARG EXTRAS=cpu
ARG BESIDES=
ARG CONSTRAINTS=/dev/null
RUN apt-get update && apt-get install -y --no-install-recommends g++
COPY . /src
RUN pip wheel --wheel-dir /wheels --constraint "$CONSTRAINTS" "/src[$EXTRAS]" $BESIDES

FROM python:3.12.11-slim-bookworm
ARG EXTRAS=cpu
ARG BESIDES=
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "pyengine[$EXTRAS]" $BESIDES
RUN useradd --create-home --uid 10001 pyengine
USER 10001
WORKDIR /work
ENTRYPOINT ["pyengine"]
