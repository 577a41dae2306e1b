# One image for every service: migrate, worker, dashboard, Ray.
FROM python:3.12-slim

# The first copies that change rarely, so that a change of the code installs torch no second time.
WORKDIR /opt/athanor
COPY pyproject.toml README.md LICENSE ./
RUN python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" > /tmp/requirements.txt \
    && pip install --no-cache-dir -r /tmp/requirements.txt
COPY spaces spaces
COPY search search
COPY workers workers
COPY athanor athanor
RUN pip install --no-cache-dir --no-deps .

RUN useradd --create-home --uid 1000 athanor \
    && install --directory --owner=athanor --group=athanor /artifacts /cache /work
USER athanor
WORKDIR /work
ENV ATHANOR_ARTIFACTS=/artifacts \
    ATHANOR_CACHE=/cache \
    RAY_USAGE_STATS_ENABLED=0
VOLUME ["/artifacts", "/cache"]
ENTRYPOINT ["athanor"]
CMD ["--help"]
