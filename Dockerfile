# The server of one zone; every role is this image with another word behind `python -m gateway`.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY requirements-bootstrap.lock requirements-server.lock requirements.lock ./
RUN python -m venv /opt/demesne \
 && /opt/demesne/bin/pip install --no-cache-dir --require-hashes -r requirements-bootstrap.lock \
 && /opt/demesne/bin/uv pip sync --python /opt/demesne/bin/python --require-hashes requirements-server.lock
COPY . .
# Our own two distributions: their build backend at the locked version, nothing else resolved.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-bootstrap.lock \
 && /opt/build/bin/uv pip install --python /opt/build/bin/python --constraints requirements.lock hatchling \
 && cd sdk && /opt/build/bin/python -m hatchling build -t wheel -d /wheels && cd .. \
 && /opt/build/bin/python -m hatchling build -t wheel -d /wheels \
 && /opt/build/bin/uv pip install --python /opt/demesne/bin/python --no-deps /wheels/*.whl

FROM python:3.11.14-slim-bookworm
# One uid for all processes of a zone: the broker answers only its own (SO_PEERCRED). The folders are made here so
# that the volumes of docker-compose.yml begin as his.
RUN useradd --uid 10001 --create-home demesne \
 && install -d -o demesne -g demesne -m 700 /directory /state /state/zones \
 && for zone in de fr; do install -d -o demesne -g demesne -m 700 /state/zones/$zone /state/zones/$zone/run \
      /state/zones/$zone/keys /state/zones/$zone/signer /state/zones/$zone/ledger /state/zones/$zone/trust \
      /state/zones/$zone/run/builder /state/zones/$zone/run/keeper; done
COPY --from=build /opt/demesne /opt/demesne
COPY deploy/zone-process deploy/sign_directory.py /opt/demesne/deploy/
ENV PATH=/opt/demesne/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER demesne
WORKDIR /home/demesne
ENTRYPOINT ["/opt/demesne/deploy/zone-process"]
